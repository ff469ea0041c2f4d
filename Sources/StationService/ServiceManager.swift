import CSystemd
@preconcurrency package import Dispatch
package import StationCore
import StationLinux

/// What stationd tells systemd of itself (`sd_notify(3)`); without systemd nothing happens.
package final class ServiceManager: Sendable {
    package init() {}

    /// The station is up. - Parameter status: one line for `systemctl status`.
    package func ready(_ status: String) { notify("READY=1\nSTATUS=\(status)") }

    /// One line for `systemctl status`.
    package func status(_ status: String) { notify("STATUS=\(status)") }

    /// Slot files and configuration are being read anew; `ready` follows.
    package func reloading() {
        notify("RELOADING=1\nMONOTONIC_USEC=\(UInt64(SystemClock.monotonicSeconds() * 1e6))")
    }

    /// Why the station does not come up. systemd keeps it while the unit has failed, for `systemctl status` and for `doctor`.
    package func didNotStart(_ error: StationError) { notify("STATUS=\(HostFacts.Unit.statusText(error))") }

    /// The station is going down.
    package func stopping() { notify("STOPPING=1\nSTATUS=stopping") }

    /// Answers the watchdog from this queue, at half its interval: a queue that hangs gets the daemon restarted.
    /// - Returns: the timer, to be kept; nil when systemd watches nothing.
    package func watch(queue: DispatchQueue) -> (any DispatchSourceTimer)? {
        var interval: UInt64 = 0
        guard sd_watchdog_enabled(0, &interval) > 0, interval > 0 else { return nil }
        let timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(
            deadline: .now(), repeating: .microseconds(Int(interval / 2)), leeway: .microseconds(Int(interval / 10)))
        timer.setEventHandler { @Sendable in self.notify("WATCHDOG=1") }
        timer.resume()
        return timer
    }

    private func notify(_ text: String) { _ = sd_notify(0, text) }
}
