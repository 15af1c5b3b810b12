"""Records endless frames and tells which, until it is killed: what `test_crash.py` kills.

python writing_child.py FOLDER FORMAT FRAMES
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from frames import make_frame, make_recorder, make_spec


def main() -> None:
    folder, recorded_as, frames = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    room = threading.Semaphore(8)  # of a client's window
    recorder = make_recorder(folder)
    recording = recorder.resume(make_spec(format=recorded_as), on_written=lambda _: room.release())
    print("recording", flush=True)
    first = recording.next_seq
    for seq in range(max(0, first - 2), first):
        recording.offer(make_frame(seq))  # it is there already
    for seq in range(first, frames):
        room.acquire()
        recording.offer(make_frame(seq))
    recording.finish().result(60)
    recorder.close()


if __name__ == "__main__":
    main()
