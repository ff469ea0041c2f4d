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
    private var listening: (any DispatchSourceRead)?
    private var isListeningPaused = false
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
    package func start() {
        guard listening == nil else { return }
        listening = readSource(listener.descriptor) { $0.acceptAll() }
    }

    /// Hangs up on everybody and removes the socket.
    package func stop() {
        resumeListening()
        listening?.cancel()
        listening = nil
        unlink(path)
        for id in Array(connections.keys) { close(id) }
    }

    /// The number of clients that are connected.
    package var connectionCount: Int { connections.count }

    private func readSource(
        _ descriptor: Descriptor, _ handler: @escaping @Sendable (isolated ControlServer) -> Void
    ) -> any DispatchSourceRead {
        let source = DispatchSource.makeReadSource(fileDescriptor: descriptor.number, queue: executor.queue)
        source.setEventHandler { @Sendable in self.assumeIsolated { handler($0) } }
        source.setCancelHandler { @Sendable in _ = descriptor }
        source.resume()
        return source
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
            listening?.suspend()
            isListeningPaused = true
            after(1) { $0.resumeListening() }
        }
    }

    /// A source that is suspended must not be released.
    private func resumeListening() {
        if isListeningPaused { listening?.resume() }
        isListeningPaused = false
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
        connection.readSource = readSource(socket.descriptor) { $0.readable(id) }
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
        if connection.isPaused { connection.readSource?.resume() }
        connection.readSource?.cancel()
        connection.writeSource?.cancel()
        connection.socket.hangUp()
        // What was asked for is done even if nobody waits for the answer; what is told ends.
        if let method = connection.current?.stationMethod, method.endsWithClient {
            connection.task?.cancel()
        }
        connection.waiter?.resume(returning: false)
        connection.waiter = nil
    }

    // MARK: Calls

    /// Reads everything that is there: of a client that has hung up already, dispatch tells once and never again.
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
                connection.readSource?.suspend()
                connection.isPaused = true
            }
        }
        watchForStall(id, connection)
        next(id, connection)
    }

    /// The client says no more. One that still listens, as `socat` with a file does, gets its answers.
    private func ended(_ id: Int, _ connection: ControlConnection) {
        let isBusy = connection.current != nil || !connection.pending.isEmpty
        guard isBusy, !connection.isHungUp, !connection.hasSubscription else { return close(id) }
        connection.inputEnded = true
        connection.readSource?.cancel()
        next(id, connection)
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
            connection.readSource?.resume()
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
        if connection.isDrained {
            connection.writeSource?.cancel()
            connection.writeSource = nil
            connection.waiter?.resume(returning: true)
            connection.waiter = nil
        } else if connection.writeSource == nil {
            let descriptor = connection.socket.descriptor
            let source = DispatchSource.makeWriteSource(fileDescriptor: descriptor.number, queue: executor.queue)
            source.setEventHandler { @Sendable in self.assumeIsolated { $0.writable(id) } }
            source.setCancelHandler { @Sendable in _ = descriptor }
            source.resume()
            connection.writeSource = source
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
