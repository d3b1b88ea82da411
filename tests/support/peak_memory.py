"""The memory of a process while it runs."""
import re
import time


def peak_memory(process):
    """The most that `process`, a Popen, had in memory until it ended, in bytes: getrusage(2) counts that of its parent before exec, too."""
    peak = 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as file:
                found = re.search(r"^VmHWM:\s*(\d+) kB", file.read(), re.MULTILINE)
        except OSError:
            continue
        peak = max(peak, int(found.group(1)) * 1024) if found else peak
        time.sleep(0.001)
    assert peak, "it ended before anybody looked"
    return peak
