import CUdev
@preconcurrency package import Dispatch
import Glibc
package import StationCore
import StationLinux

/// Tells that something happened to a disk, from libudev; what there is now is then read from sysfs, so that an event that is
/// late, doubled or without properties cannot mislead anyone. Only that a disk is gone is believed at once.
///
/// Two monitors run side by side. udev's speaks when its rules have run and the node may be opened. The kernel's speaks at
/// once: if udev does not follow within some seconds (it was restarted, a worker died, the event was lost), everything is
/// enumerated again. The same happens when either socket overflows.
///
/// Confined to one queue.
package final class DeviceMonitor {
    /// What is told.
    package enum Event: Equatable, Sendable {
        /// Something happened to the disk with this path below `/sys`.
        case touched(devicePath: String)
        /// The disk that had this path is gone. Where another has it by now, udev is not done with that one, and speaks again.
        /// - `sequence`: its disk sequence number, where udev knows it.
        case removed(devicePath: String, sequence: UInt64?)
        /// Events may have been lost, for this reason: enumerate again.
        case lost(String)
    }

    /// How long udev may take to follow the kernel, in seconds.
    private static let udevPatience = 10.0
    /// The same while it has other events in its queue: on a host that is slow with all of them.
    private static let busyPatience = 60.0

    private let queue: DispatchQueue
    private let handler: @Sendable (Event) -> Void
    private let context: OpaquePointer
    /// Each lives until its source's cancel handler has run: a descriptor that is closed earlier comes back under the same
    /// number, and libdispatch would never speak of it again.
    private var monitors: [OpaquePointer] = []
    private var sources: [any DispatchSourceRead] = []
    /// The last kernel event of each disk that udev has not answered, and when it came, in monotonic seconds.
    private var unanswered: [String: (sequence: UInt64, at: Double)] = [:]
    private var patience: (any DispatchSourceTimer)?

    /// Starts to listen. The handler is called on the queue.
    /// - Throws: `udev_unavailable`.
    package init(queue: DispatchQueue, handler: @escaping @Sendable (Event) -> Void) throws(StationError) {
        guard let context = udev_new() else {
            throw StationError("udev_unavailable", "libudev cannot be used", remedy: "is systemd-udevd running?")
        }
        self.context = context
        self.queue = queue
        self.handler = handler
        try listen()
    }

    deinit {
        sources.forEach { $0.cancel() }
        patience?.cancel()
        udev_unref(context)
    }

    /// The paths of all disks there are, but for new ones that udev is at work on: nobody may open them yet, and udev's event
    /// is still to come.
    package func enumerate() -> [String] {
        guard let enumeration = udev_enumerate_new(context) else { return [] }
        defer { udev_enumerate_unref(enumeration) }
        udev_enumerate_add_match_subsystem(enumeration, "block")
        udev_enumerate_scan_devices(enumeration)
        var paths: [String] = []
        var entry = udev_enumerate_get_list_entry(enumeration)
        while let current = entry {
            if let name = udev_list_entry_get_name(current) {
                let path = String(cString: name)
                if path.hasPrefix("/sys/"), !isWithUdev(path) { paths.append(String(path.dropFirst(4))) }
            }
            entry = udev_list_entry_get_next(current)
        }
        return paths
    }

    private func isWithUdev(_ systemPath: String) -> Bool {
        guard unanswered[String(systemPath.dropFirst(4))] != nil,
            let device = udev_device_new_from_syspath(context, systemPath)
        else { return false }
        defer { udev_device_unref(device) }
        return udev_device_get_is_initialized(device) == 0
    }

    /// Throws the monitors away and begins anew; for a socket that overflowed.
    private func listen() throws(StationError) {
        sources.forEach { $0.cancel() }
        sources = []
        monitors = []
        unanswered = [:]
        for name in ["udev", "kernel"] {
            guard let monitor = udev_monitor_new_from_netlink(context, name) else {
                throw StationError(
                    "udev_unavailable", "the \(name) monitor cannot be opened",
                    remedy: "the unit must not set PrivateNetwork=yes")
            }
            guard udev_monitor_filter_add_match_subsystem_devtype(monitor, "block", "disk") >= 0,
                udev_monitor_enable_receiving(monitor) >= 0
            else {
                udev_monitor_unref(monitor)
                throw StationError("udev_unavailable", "the \(name) monitor cannot be listened to")
            }
            monitors.append(monitor)
            let isKernel = name == "kernel"
            let source = DispatchSource.makeReadSource(fileDescriptor: udev_monitor_get_fd(monitor), queue: queue)
            let box = MonitorBox(self)
            source.setEventHandler { @Sendable in box.monitor?.drain(isKernel: isKernel) }
            let release = MonitorRelease(monitor)
            source.setCancelHandler { @Sendable in release.now() }
            source.resume()
            sources.append(source)
        }
    }

    /// Takes all events that wait. Runs on the queue.
    fileprivate func drain(isKernel: Bool) {
        let index = isKernel ? 1 : 0
        // Each time anew: who begins to listen again may find no descriptor for it.
        while index < monitors.count {
            errno = 0
            guard let device = udev_monitor_receive_device(monitors[index]) else {
                if errno == ENOBUFS { listenAgain("the kernel's queue of events overflowed") }
                return
            }
            defer { udev_device_unref(device) }
            guard let pathText = udev_device_get_devpath(device) else { continue }
            let path = String(cString: pathText)
            let sequence = udev_device_get_seqnum(device)
            if isKernel {
                unanswered[path] = (sequence, SystemClock.monotonicSeconds())
                watchPatience(Self.udevPatience)
            } else {
                // The kernel spoke before udev did, and would count as unanswered if it were heard after it.
                drain(isKernel: true)
                if let waiting = unanswered[path], waiting.sequence <= sequence { unanswered[path] = nil }
                handler(Self.event(of: device, at: path))
            }
        }
    }

    private static func event(of device: OpaquePointer, at path: String) -> Event {
        guard let action = udev_device_get_action(device), String(cString: action) == "remove" else {
            return .touched(devicePath: path)
        }
        let sequence = udev_device_get_property_value(device, "DISKSEQ").flatMap { UInt64(String(cString: $0)) }
        return .removed(devicePath: path, sequence: sequence)
    }

    /// Begins anew and says so; a host that has no socket left for it is asked again every second.
    fileprivate func listenAgain(_ cause: String) {
        do {
            try listen()
            handler(.lost(cause))
        } catch {
            let timer = DispatchSource.makeTimerSource(queue: queue)
            timer.schedule(deadline: .now() + 1)
            let box = MonitorBox(self)
            timer.setEventHandler { @Sendable in
                timer.cancel()
                box.monitor?.listenAgain(cause)
            }
            timer.resume()
        }
    }

    /// Looks after so many seconds whether udev has followed, unless that is going to happen anyway.
    private func watchPatience(_ seconds: Double) {
        guard patience == nil else { return }
        let timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(deadline: .now() + seconds)
        let box = MonitorBox(self)
        timer.setEventHandler { @Sendable in box.monitor?.lookWhetherUdevFollowed() }
        timer.resume()
        patience = timer
    }

    private var isUdevAtWork: Bool {
        guard let queue = udev_queue_new(context) else { return false }
        defer { udev_queue_unref(queue) }
        return udev_queue_get_queue_is_empty(queue) == 0
    }

    /// An event that came a moment ago is none that udev has missed: its rules may just be running.
    fileprivate func lookWhetherUdevFollowed() {
        patience?.cancel()
        patience = nil
        let now = SystemClock.monotonicSeconds()
        // One that has much to do is slow, and has missed nothing: what it has not opened yet would only be refused.
        let patience = isUdevAtWork ? Self.busyPatience : Self.udevPatience
        let waiting = unanswered.filter { $0.value.at > now - patience }
        let isOverdue = waiting.count < unanswered.count
        unanswered = waiting
        if let next = waiting.values.map(\.at).min() { watchPatience(max(1, next + Self.udevPatience - now)) }
        if isOverdue { handler(.lost("udev did not follow the kernel within \(Int(patience)) s")) }
    }
}

/// A monitor on its way out.
///
/// `@unchecked Sendable` because only the cancel handler of its source uses it, once.
private final class MonitorRelease: @unchecked Sendable {
    private let monitor: OpaquePointer
    init(_ monitor: OpaquePointer) { self.monitor = monitor }
    func now() { udev_monitor_unref(monitor) }
}

/// A weak way back from a dispatch source.
///
/// `@unchecked Sendable` because it is read on the monitor's queue only.
private final class MonitorBox: @unchecked Sendable {
    weak var monitor: DeviceMonitor?
    init(_ monitor: DeviceMonitor) { self.monitor = monitor }
}
