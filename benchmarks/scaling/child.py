"""The process of one subject: its curves as JSON on the standard output. ``python -m benchmarks.scaling.child NAME``.

Exit status 2 where a server is missing, which is said on the standard error.
"""

import sys
from contextlib import ExitStack

import msgspec

from benchmarks.processor import one_processor
from benchmarks.scaling.stage import stage
from benchmarks.scaling.subjects import SUBJECTS
from benchmarks.scaling.sweep import FULL, QUICK
from cachecore.testing.servers import ServerFailed, ServerMissing


def main(argv: list[str]) -> int:
    """The curves of the subject argv[0]; quick ones if --quick follows."""
    subject = SUBJECTS[argv[0]]
    try:
        with ExitStack() as stack:
            if subject.one_processor:
                stack.enter_context(one_processor())
            stack.enter_context(stage(subject.servers))
            curves = list(subject.draw(QUICK if "--quick" in argv else FULL))
    except (ServerMissing, ServerFailed) as error:
        print(error, file=sys.stderr)
        return 2
    sys.stdout.buffer.write(msgspec.json.encode(curves))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
