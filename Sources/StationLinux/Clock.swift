import CLinux
import Glibc
import StationCore

/// Time and boot, from the kernel.
package enum SystemClock {
    /// Seconds of the monotonic clock, which nobody can set.
    package static func monotonicSeconds() -> Double { seconds(CLOCK_MONOTONIC) }

    /// Seconds since the kernel started, suspension included.
    package static func secondsSinceBoot() -> Double { seconds(CLOCK_BOOTTIME) }

    /// Seconds since 1970 by the wall clock.
    package static func wallSeconds() -> Double { seconds(CLOCK_REALTIME) }

    /// Whether the kernel says that the wall clock was set by a time source. Corresponds to `adjtimex(2)` and `STA_UNSYNC`.
    package static func isSynchronised() -> Bool {
        station_clock_is_synchronised() != 0
    }

    /// The key of this boot: `/proc/sys/kernel/random/boot_id` without its dashes.
    package static func bootID() -> String {
        (SmallFile.attribute("/proc/sys/kernel/random/boot_id") ?? "").filter { $0 != "-" }
    }

    private static func seconds(_ clock: clockid_t) -> Double {
        var time = timespec()
        clock_gettime(clock, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
