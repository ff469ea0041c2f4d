import CUdev
import Dispatch
import Glibc
import StationCore

/// What happened to lights of the host.
package enum LightEvent: Equatable, Sendable {
    /// An LED of this name; `isNew` when it came or went, else something about it changed.
    case led(String, isNew: Bool)
    /// Some line or chip of GPIO.
    case gpio
    /// Events may have been lost.
    case lost
}

/// Tells that an LED or a GPIO line came, went or changed, after udev's rules for it have run: what they give access to can
/// be used then.
///
/// Confined to one queue.
final class LightMonitor {
    private let context: OpaquePointer
    private let monitor: OpaquePointer
    private let source: any DispatchSourceRead

    /// Starts to listen. The handler is called on the queue.
    /// - Throws: `udev_unavailable`.
    init(queue: DispatchQueue, handler: @escaping @Sendable (LightEvent) -> Void) throws(StationError) {
        guard let context = udev_new(), let monitor = udev_monitor_new_from_netlink(context, "udev") else {
            throw StationError("udev_unavailable", "libudev cannot be used for lights")
        }
        self.context = context
        self.monitor = monitor
        for subsystem in ["leds", "gpio"] {
            udev_monitor_filter_add_match_subsystem_devtype(monitor, subsystem, nil)
        }
        udev_monitor_enable_receiving(monitor)
        source = DispatchSource.makeReadSource(fileDescriptor: udev_monitor_get_fd(monitor), queue: queue)
        let box = UdevBox(context: context, monitor: monitor)
        source.setEventHandler { @Sendable in box.drain(handler) }
        source.setCancelHandler { @Sendable in box.release() }
        source.resume()
    }

    deinit { source.cancel() }
}

/// The two objects of libudev until their source is cancelled.
///
/// `@unchecked Sendable` because only the handlers of one source use it, on its queue.
private final class UdevBox: @unchecked Sendable {
    private let context: OpaquePointer
    private let monitor: OpaquePointer

    init(context: OpaquePointer, monitor: OpaquePointer) {
        self.context = context
        self.monitor = monitor
    }

    func drain(_ handler: (LightEvent) -> Void) {
        while true {
            errno = 0
            guard let device = udev_monitor_receive_device(monitor) else {
                if errno == ENOBUFS {
                    handler(.lost)
                    continue
                }
                return
            }
            defer { udev_device_unref(device) }
            let text: (UnsafePointer<CChar>?) -> String = { $0.map { String(cString: $0) } ?? "" }
            if text(udev_device_get_subsystem(device)) == "leds" {
                let isNew = ["add", "remove"].contains(text(udev_device_get_action(device)))
                handler(.led(text(udev_device_get_sysname(device)), isNew: isNew))
            } else {
                handler(.gpio)
            }
        }
    }

    func release() {
        udev_monitor_unref(monitor)
        udev_unref(context)
    }
}
