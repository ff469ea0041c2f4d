"""Several requests at a time: threads, as the writer has them, against io_uring, by fio on the same device."""

import json
import resource
import shutil
import subprocess

#: As the writer's requests are: so many of one MiB under way.
REQUEST_MIB, IN_FLIGHT = 1, 6
ENGINES = {
    # Each takes every sixth request, so that together they go through the device in its order, as the writer's threads do.
    "threads": lambda way, mib: ["--ioengine=psync", f"--numjobs={IN_FLIGHT}", f"--rw={way}:{(IN_FLIGHT - 1) * REQUEST_MIB}M",
                                 f"--offset_increment={REQUEST_MIB}M", f"--io_size={mib // IN_FLIGHT}M"],
    "io_uring": lambda way, mib: ["--ioengine=io_uring", f"--iodepth={IN_FLIGHT}", f"--rw={way}", f"--io_size={mib}M"],
}


def missing():
    """Why this cannot be measured here; None where it can."""
    if shutil.which("fio") is None:
        return "fio is not installed"
    tried = subprocess.run(["fio", "--name=try", "--ioengine=io_uring", "--rw=read", "--bs=4k", "--size=4k", "--filename=/proc/self/exe"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    return None if tried.returncode == 0 else f"fio cannot use io_uring here: {tried.stderr.strip()}"


def once(device, size, engine, way):
    """One pass over the first `size` bytes of a device, which are a whole number of times `IN_FLIGHT` MiB.

    {"seconds": of the whole, "processor": seconds of the processor for each GiB, the kernel's share included}.
    """
    # By the kernel's account of the whole process: fio's own leaves out the threads that the kernel makes for io_uring.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["fio", "--name=engine", f"--filename={device}", "--direct=1", "--thread", "--group_reporting", f"--bs={REQUEST_MIB}M",
         f"--size={size >> 20}M", "--end_fsync=1" if way == "write" else "--invalidate=0", "--output-format=json",
         *ENGINES[engine](way, size >> 20)],
        check=True, stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    job, = json.loads(done.stdout[done.stdout.index("{"):])["jobs"]
    if job[way]["io_bytes"] != size:
        raise SystemExit(f"benchmark: fio's {engine} moved {job[way]['io_bytes']} of {size} bytes")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": job[way]["runtime"] / 1000, "processor": processor / (job[way]["io_bytes"] / 2**30)}
