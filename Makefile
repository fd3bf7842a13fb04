# Forwards to ./run; arguments go into ARGS: make test ARGS="-k keys".
demo test check bench explore help:
	@./run $@ $(ARGS)

.DEFAULT_GOAL := help
.PHONY: demo test check bench explore help
