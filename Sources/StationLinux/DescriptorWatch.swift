import CLinux
package import Dispatch
import Glibc
import Synchronization

/// Tells a queue when a descriptor can be read or written.
///
/// What a dispatch source does, and is not used for: those of Linux do not outlive every peer that hangs up. libdispatch lets go of
/// its note of the descriptor on one thread while another still walks through it, and once in some hundred thousand connections
/// the process ends.
package final class DescriptorWatch: Sendable {
    /// What can be done now. After a peer has hung up, both: reading and writing say so.
    package struct Events: OptionSet, Sendable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        package static let read = Events(rawValue: 1)
        package static let write = Events(rawValue: 2)
    }

    /// Given the watch itself, for it to be cancelled, and what can be done.
    package typealias Handler = @Sendable (DescriptorWatch, Events) -> Void

    private struct State {
        var wanted: Events = []
        var isRegistered = false
        /// Something is on its way to the queue. Until it has been told the kernel says nothing more.
        var isTelling = false
        /// Nil when it was cancelled.
        var handler: Handler?
    }

    private let descriptor: Descriptor
    private let queue: DispatchQueue
    private let loop: EventLoop
    /// The name that the kernel knows it by. No other watch ever has it.
    private let id: UInt64
    private let state: Mutex<State>

    /// Makes what all watches share, for a process that wants to know at its start whether there is enough of everything.
    /// - Throws: `SystemError` when the kernel has no descriptor or thread for it.
    package static func prepare() throws(SystemError) { _ = try EventLoop.shared() }

    /// Nothing is told before `want`.
    /// - Parameter handler: called on the queue, again and again while there is something of what is wanted. Kept until `cancel`.
    /// - Throws: that of `prepare`, where this is the process's first.
    package init(_ descriptor: Descriptor, queue: DispatchQueue, handler: @escaping Handler)
        throws(SystemError)
    {
        loop = try EventLoop.shared()
        id = loop.nextID()
        self.descriptor = descriptor
        self.queue = queue
        state = Mutex(State(handler: handler))
    }

    /// Has this told from now on, and nothing else; with `[]` nothing until the next call.
    /// - Throws: `SystemError` when the kernel cannot watch the descriptor.
    package func want(_ events: Events) throws(SystemError) {
        let problem: SystemError? = state.withLock { state in
            guard state.handler != nil, state.wanted != events else { return nil }
            let before = state.wanted
            state.wanted = events
            guard !state.isTelling, let problem = arm(&state) else { return nil }
            state.wanted = before
            return problem
        }
        if let problem { throw problem }
    }

    /// Tells nothing more, and lets go of the handler. On the queue: from here on; from elsewhere: a call under way goes on.
    package func cancel() {
        let handler = state.withLock { state in
            if state.isRegistered { loop.remove(id, descriptor) }
            state.isRegistered = false
            defer { state.handler = nil }
            return state.handler
        }
        // What it holds is let go of without the lock: its end may cancel this once more.
        _ = handler
    }

    /// Asks the kernel for one event. A watch that was not cancelled is kept by the loop from here on.
    private func arm(_ state: inout State) -> SystemError? {
        guard !state.wanted.isEmpty else { return nil }
        do {
            try loop.arm(self, id, descriptor, state.wanted, isNew: !state.isRegistered)
            state.isRegistered = true
            return nil
        } catch {
            return error
        }
    }

    /// On the loop's thread.
    fileprivate func happened(_ events: Events) {
        let isNews = state.withLock { state in
            guard state.handler != nil, !state.isTelling else { return false }
            state.isTelling = true
            return true
        }
        if isNews { queue.async { self.tell(events) } }
    }

    private func tell(_ events: Events) {
        let (handler, told) = state.withLock { ($0.handler, events.intersection($0.wanted)) }
        if let handler, !told.isEmpty { handler(self, told) }
        let problem: SystemError? = state.withLock { state in
            state.isTelling = false
            return state.handler == nil ? nil : arm(&state)
        }
        // What was watched before needs nothing new of the kernel, so this cannot be. If it were, the descriptor would be deaf for
        // ever, and a daemon that is started again is better than one that hears nobody.
        if let problem { fatalError("\(problem)") }
    }
}

/// The one thread that waits for all watches of the process. Corresponds to `epoll(7)`.
private final class EventLoop: Sendable {
    private static let only = Mutex<EventLoop?>(nil)

    private let epoll: Descriptor
    private let watches = Mutex<[UInt64: DescriptorWatch]>([:])
    private let last = Atomic<UInt64>(0)

    static func shared() throws(SystemError) -> EventLoop {
        let result: Result<EventLoop, SystemError> = only.withLock { only in
            if let only { return .success(only) }
            do throws(SystemError) {
                let loop = try EventLoop()
                try WorkerThread.withoutSignals { loop.run() }
                only = loop
                return .success(loop)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private init() throws(SystemError) {
        epoll = Descriptor(owning: try retrying("epoll_create1", "epoll") { station_epoll_create() })
    }

    func nextID() -> UInt64 { last.add(1, ordering: .relaxed).newValue }

    func arm(
        _ watch: DescriptorWatch, _ id: UInt64, _ descriptor: Descriptor, _ events: DescriptorWatch.Events, isNew: Bool
    ) throws(SystemError) {
        if isNew { watches.withLock { $0[id] = watch } }
        do {
            _ = try retrying("epoll_ctl", "descriptor \(descriptor.number)") {
                station_epoll_arm(
                    epoll.number, isNew ? 1 : 0, descriptor.number, id, events.contains(.read) ? 1 : 0,
                    events.contains(.write) ? 1 : 0)
            }
        } catch {
            if isNew { _ = watches.withLock { $0.removeValue(forKey: id) } }
            throw error
        }
    }

    func remove(_ id: UInt64, _ descriptor: Descriptor) {
        station_epoll_remove(epoll.number, descriptor.number)
        _ = watches.withLock { $0.removeValue(forKey: id) }
    }

    private func run() {
        let capacity = 32
        var ids = [UInt64](repeating: 0, count: capacity)
        var flags = [UInt32](repeating: 0, count: capacity)
        while true {
            let count = station_epoll_wait(epoll.number, &ids, &flags, Int32(capacity))
            for index in 0..<Int(max(0, count)) {
                // One that was cancelled since is not here any more.
                watches.withLock { $0[ids[index]] }?.happened(DescriptorWatch.Events(rawValue: flags[index]))
            }
        }
    }
}
