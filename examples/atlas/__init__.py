"""An atlas served by FastAPI: countries, cities and roads, cached with cachecore. See README.md."""
