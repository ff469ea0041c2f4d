"""Several requests at a time: threads, as the writer has them, against io_uring, by fio on the same device."""

import json
import resource
import shutil
import subprocess

#: As the writer's requests are.
REQUEST, IN_FLIGHT = "1M", 6
ENGINES = {
    # One range each, as the writer's threads have requests of their own.
    "threads": lambda size: ["--ioengine=psync", f"--numjobs={IN_FLIGHT}", f"--size={size // IN_FLIGHT // (1 << 20)}M",
                             f"--offset_increment={size // IN_FLIGHT // (1 << 20)}M"],
    "io_uring": lambda size: ["--ioengine=io_uring", f"--iodepth={IN_FLIGHT}", f"--size={size // (1 << 20)}M"],
}


def missing():
    """Why this cannot be measured here; None where it can."""
    if shutil.which("fio") is None:
        return "fio is not installed"
    try:
        with open("/proc/sys/kernel/io_uring_disabled", encoding="ascii") as file:
            return None if file.read().strip() == "0" else "this kernel has io_uring switched off"
    except FileNotFoundError:
        return None


def once(device, size, engine, way):
    """{"seconds": of the whole, "processor": seconds of the processor for each GiB, the kernel's share included}."""
    # By the kernel's account of the whole process: fio's own leaves out the threads that the kernel makes for io_uring.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["fio", "--name=engine", f"--filename={device}", "--direct=1", "--thread", "--group_reporting", f"--bs={REQUEST}", f"--rw={way}",
         "--end_fsync=1" if way == "write" else "--invalidate=0", "--output-format=json", *ENGINES[engine](size)],
        check=True, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    job, = json.loads(done.stdout[done.stdout.index("{"):])["jobs"]
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": job[way]["runtime"] / 1000, "processor": processor / (job[way]["io_bytes"] / 2**30)}
