"""A simulator of hit ratios: the store's default policy beside others, over synthetic traces.

The real store, compiled where it can be, is beside LRU, SIEVE, S3-FIFO as published, W-TinyLFU and the best possible;
each is a class of its own that holds keys and sizes but no values. LRU and SIEVE agree with libCacheSim 0.3.5 to the
last hit; so does S3-FIFO within half a point (sizes: one), except on the loop, as it now lets the main queue fill up
first. W-TinyLFU is the one of its paper, with a fixed window, and within one or two points above theine 2.0 where
popularity stands still; where it moves theine, whose window adapts, is up to 6 points above it on drift, 16 on bursts.

Where another is more than two points above ours, and why:

zipf 0.7, room for 10 %      W-TinyLFU by 2. Its sketch knows ten requests an entry, ours one ghost an entry. That long
                             memory is in its way when popularity moves: it is 7 to 26 points below on drift, 3 to 14 on
                             the shop's day.
bursts 1/2000, room for 1 %  S3-FIFO by 3. It wants two hits in the small queue where ours wants one, and the two
                             requests that all keys come in here are one hit. Where they are farther apart that costs it
                             5 points (bursts 1/400), and one or two where popularity moves.
loop, room for 19 of 20      S3-FIFO and W-TinyLFU by 70 and more. Best is to keep any entries and let the others pass.
                             Ours takes all that come back as ghosts into the main queue, as ARC does, and they push
                             each other out. Sending ghosts of the main queue back to the small one would win 57 points
                             here and lose one on the shop's day. LRU has no hit at all.
"""
