import Dispatch
import Glibc
package import StationCore
import StationLinux

/// The control socket: Varlink over a local stream socket, one dispatch queue for all clients.
///
/// It knows calls, privileges and limits, and nothing of flashing: that is behind `StationControl`. A client can be slow,
/// silent, malformed or many, and costs a bounded amount of memory at most; calls on one connection are answered in order.
package actor ControlServer {
    private let executor = QueueExecutor(label: "control")
    private let access: ControlAccess
    private let limits: ControlLimits
    private let methods: ControlMethods
    private let listener: LocalSocket
    private let path: String
    private var listening: DescriptorWatch?
    private var connections: [Int: ControlConnection] = [:]
    private var nextID = 1

    package nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// Makes the socket; `start()` begins to answer. A socket file that a dead station left is replaced.
    /// - Throws: `station_running` when another station answers there; `control_socket` when it cannot be made.
    package init(
        socketPath: String, control: any StationControl, access: ControlAccess, information: ServiceInformation,
        limits: ControlLimits = ControlLimits()
    ) throws(StationError) {
        try Self.clear(socketPath)
        do {
            // Everybody may connect: rights are checked per method, and a refusal can say what is missing.
            listener = try LocalSocket.listen(at: socketPath, .stream, mode: 0o666)
        } catch {
            throw error.asStationError("control_socket")
        }
        path = socketPath
        self.access = access
        self.limits = limits
        methods = ControlMethods(control: control, information: information, limits: limits)
    }

    private static func clear(_ path: String) throws(StationError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw StationError("control_socket", "\(path.printable()) is there and is no socket", remedy: "remove it")
        }
        if (try? LocalSocket.connect(to: path, .stream)) != nil {
            throw StationError(
                "station_running", "another station answers at \(path.printable())",
                remedy: "systemctl status stationd, or give this one another socket")
        }
        unlink(path)
    }

    /// Begins to take connections.
    /// - Throws: `control_socket`.
    package func start() throws(StationError) {
        guard listening == nil else { return }
        do {
            let watch = try watch(listener.descriptor) { server, _ in server.acceptAll() }
            try watch.want(.read)
            listening = watch
        } catch {
            throw error.asStationError("control_socket")
        }
    }

    /// Hangs up on everybody and removes the socket.
    package func stop() {
        listening?.cancel()
        listening = nil
        unlink(path)
        for id in Array(connections.keys) { close(id) }
    }

    /// The number of clients that are connected.
    package var connectionCount: Int { connections.count }

    private func watch(
        _ descriptor: Descriptor,
        _ handler: @escaping @Sendable (isolated ControlServer, DescriptorWatch.Events) -> Void
    ) throws(SystemError) -> DescriptorWatch {
        try DescriptorWatch(descriptor, queue: executor.queue) { _, events in
            self.assumeIsolated { handler($0, events) }
        }
    }

    private func after(_ seconds: Double, _ body: @escaping @Sendable (isolated ControlServer) -> Void) {
        executor.queue.asyncAfter(deadline: .now() + seconds) { @Sendable in self.assumeIsolated { body($0) } }
    }

    // MARK: Clients come and go

    private func acceptAll() {
        do {
            while let socket = try listener.accept(nonblocking: true) { admit(socket) }
        } catch {
            // No descriptor is left, most likely: the kernel would wake us again at once and for ever.
            try? listening?.want([])
            after(1) { try? $0.listening?.want(.read) }
        }
    }

    private func admit(_ socket: LocalSocket) {
        guard let peer = try? socket.peer() else { return }
        let privilege = access.privilege(of: peer)
        guard hasRoom(for: peer, privilege) else {
            let error = StationError(
                "too_many_connections", "the station has too many connections", remedy: "end a stationctl watch")
            _ = try? socket.send(ReplyEncoder(byteLimit: limits.replyByteCount).failure(error), waits: false)
            return
        }
        let id = nextID
        nextID += 1
        let connection = ControlConnection(socket: socket, peer: peer, privilege: privilege)
        connections[id] = connection
        connection.watch = try? watch(socket.descriptor) { server, events in
            if events.contains(.write) { server.writable(id) }
            if events.contains(.read) { server.readable(id) }
        }
        listen(id, connection)
    }

    /// Has the kernel tell what is waited for of a client, and nothing else.
    private func listen(_ id: Int, _ connection: ControlConnection) {
        guard let watch = connection.watch else { return close(id) }
        do { try watch.want(connection.wanted) } catch { close(id) }
    }

    /// Nobody can lock the others out: neither one user, nor strangers, nor anybody root.
    private func hasRoom(for peer: PeerCredentials, _ privilege: Control.Privilege?) -> Bool {
        let rivals = connections.values.filter { ($0.privilege == .root) == (privilege == .root) }
        guard rivals.count < limits.connectionCount else { return false }
        guard privilege != .root else { return true }
        if privilege == nil, rivals.count(where: { $0.privilege == nil }) >= limits.strangerConnections { return false }
        return rivals.count { $0.peer.userID == peer.userID } < limits.connectionsPerUser
    }

    private func close(_ id: Int) {
        guard let connection = connections.removeValue(forKey: id) else { return }
        connection.watch?.cancel()
        connection.socket.hangUp()
        // What was asked for is done even if nobody waits for the answer; what is told ends.
        if let method = connection.current?.stationMethod, method.endsWithClient {
            connection.task?.cancel()
        }
        connection.waiter?.resume(returning: false)
        connection.waiter = nil
    }

    // MARK: Calls

    /// Reads everything that is there.
    private func readable(_ id: Int) {
        guard let connection = connections[id] else { return }
        while !connection.isPaused {
            do {
                let received = try connection.socket.receive(limit: 16 * 1024, waits: false)
                guard !received.bytes.isEmpty else { return ended(id, connection) }
                guard connection.take(received, byteLimit: limits.callByteCount) else { return close(id) }
            } catch {
                guard error.number == EAGAIN else { return close(id) }
                break
            }
            if connection.pending.count > limits.pendingCalls {
                // Behind a subscription nothing would ever be answered.
                if connection.hasSubscription { return close(id) }
                connection.isPaused = true
                listen(id, connection)
            }
        }
        watchForStall(id, connection)
        next(id, connection)
    }

    /// The client says no more. One that still listens, as `socat` with a file does, gets its answers; of one that does not, what
    /// it said just before it went is done.
    private func ended(_ id: Int, _ connection: ControlConnection) {
        next(id, connection)
        let isBusy = connection.current != nil || !connection.pending.isEmpty
        guard isBusy, !connection.isHungUp, !connection.hasSubscription else { return close(id) }
        connection.inputEnded = true
        listen(id, connection)
    }

    private func next(_ id: Int, _ connection: ControlConnection) {
        guard connection.current == nil else { return }
        guard !connection.pending.isEmpty else {
            if connection.inputEnded { close(id) }
            return
        }
        let call = connection.pending.removeFirst()
        connection.current = call
        let privilege = connection.privilege
        let caller = connection.peer.userID
        connection.task = Task { [methods] in
            await methods.perform(call, privilege: privilege, caller: caller) { await self.send($0, to: id) }
            self.finished(id)
        }
        if connection.isPaused, connection.pending.isEmpty {
            connection.isPaused = false
            listen(id, connection)
            readable(id)
        }
    }

    private func finished(_ id: Int) {
        guard let connection = connections[id] else { return }
        connection.current = nil
        connection.task = nil
        next(id, connection)
    }

    // MARK: Replies

    /// Sends a message, and returns when the client has taken all of it; false when it is gone.
    private func send(_ message: [UInt8], to id: Int) async -> Bool {
        guard let connection = connections[id] else { return false }
        connection.queue(message)
        flush(id, connection)
        guard connections[id] != nil else { return false }
        if connection.isDrained { return true }
        return await withCheckedContinuation { connection.waiter = $0 }
    }

    private func flush(_ id: Int, _ connection: ControlConnection) {
        guard connection.flush() else { return close(id) }
        listen(id, connection)
        if connection.isDrained {
            connection.waiter?.resume(returning: true)
            connection.waiter = nil
        } else {
            watchForStall(id, connection)
        }
    }

    private func writable(_ id: Int) {
        guard let connection = connections[id] else { return }
        flush(id, connection)
    }

    // MARK: Clients that do not move

    private func watchForStall(_ id: Int, _ connection: ControlConnection) {
        guard !connection.isStallWatched, let progress = connection.dueProgress else { return }
        connection.isStallWatched = true
        after(limits.stallSeconds) { server in
            guard let connection = server.connections[id] else { return }
            connection.isStallWatched = false
            if connection.dueProgress == progress { return server.close(id) }
            server.watchForStall(id, connection)
        }
    }
}
