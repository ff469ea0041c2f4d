import CLinux
import Glibc

/// Signals that wait to be read, instead of interrupting. For programs with one thread. Corresponds to `signalfd(2)`.
package final class SignalQueue: Sendable {
    /// Readable while a signal waits.
    package let descriptor: Descriptor

    /// From here on these signals are blocked.
    package init(_ numbers: [Int32]) throws(SystemError) {
        descriptor = Descriptor(
            owning: try retrying("signalfd", "") { station_signal_descriptor(numbers, Int32(numbers.count)) })
    }

    /// The next signal that came; nil when none waits.
    package func next() -> Int32? {
        let number = station_take_signal(descriptor.number)
        return number > 0 ? number : nil
    }
}

extension Descriptor {
    /// Waits until one descriptor is readable, or nobody is at the other end of another one any more. Corresponds to `poll(2)`.
    /// - Returns: the number of the one, or of the other where that is so too.
    package static func waitForInput(of number: Int32, orHangUpOf other: Int32) -> Int32 {
        var entries = [pollfd(fd: number, events: Int16(POLLIN), revents: 0), pollfd(fd: other, events: 0, revents: 0)]
        while poll(&entries, 2, -1) < 0, errno == EINTR {}
        return entries[1].revents != 0 ? other : number
    }

    /// Whether it can be read from now, or was hung up.
    package var hasInput: Bool { !Self.waitForInput(of: [number], seconds: 0).isEmpty }

    /// Waits until one of several descriptors is readable, or hung up, or the time is over. Corresponds to `poll(2)`.
    /// - Returns: the numbers of those that are.
    package static func waitForInput(of numbers: [Int32], seconds: Double) -> Set<Int32> {
        var entries = numbers.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        let milliseconds = Int32(max(0, min(seconds, 3600)) * 1000)
        guard poll(&entries, nfds_t(entries.count), milliseconds) > 0 else { return [] }
        return Set(entries.filter { $0.revents != 0 }.map(\.fd))
    }
}
