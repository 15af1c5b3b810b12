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
    room = threading.Event()
    recorder = make_recorder(folder, queue_bytes=8000)
    recording = recorder.resume(make_spec(format=recorded_as), on_room=room.set)
    print("recording", flush=True)
    for seq in range(max(0, recording.next_seq - 2), frames):
        while not recording.offer(make_frame(seq)):
            room.wait(5)
            room.clear()
    recording.finish().result(30)
    recorder.close()


if __name__ == "__main__":
    main()
