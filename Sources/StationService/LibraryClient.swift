@preconcurrency import Dispatch
import FoundationEssentials
import Glibc
package import StationCore
package import StationLinux
import Synchronization

/// How station-library is reached.
package enum LibraryLaunch: Sendable {
    /// By systemd: this socket starts a process for each connection.
    case socket(path: String)
    /// By ourselves, over a socket pair, where there is no systemd.
    case program(path: String, arguments: [String])
}

/// The station's side of station-library: one connection a request.
package struct LibraryClient: Sendable {
    private let launch: LibraryLaunch

    package init(launch: LibraryLaunch) { self.launch = launch }

    /// Asks, and passes on everything that is answered. The stream ends after the last message; when nobody listens any
    /// more, the connection is closed and the library stops.
    package func perform(_ request: LibraryRequest, files: [Descriptor] = []) -> AsyncThrowingStream<
        LibraryMessage, any Error
    > {
        // What a build prints comes as fast as it likes: who is slow misses some of it, and it is all in its log. The last word is
        // the newest. Of everything else each word counts, and there are few.
        let isBuild = if case .build = request { true } else { false }
        let (stream, continuation) = AsyncThrowingStream.makeStream(
            of: LibraryMessage.self, bufferingPolicy: isBuild ? .bufferingNewest(SharedWork.updateLimit) : .unbounded)
        // Before there is anything to end: whoever stops listening may do so while the connection comes to be.
        let interest = Interest()
        continuation.onTermination = { _ in interest.end() }
        // A queue for each blocking conversation: a concurrent one would wake libdispatch's common pool, see `TaskThreads`.
        let queue = DispatchQueue(label: "library")
        queue.async {
            do {
                let socket = try connect(queue)
                interest.hold(socket)
                _ = try socket.send(JSONEncoder().encode(request), descriptors: files)
                while true {
                    // A library that is killed with something unread in its socket resets the connection.
                    let message = try? socket.receive(limit: LibraryRequest.messageLimit)
                    guard let message, !message.bytes.isEmpty else {
                        throw StationError(
                            "library_lost", "station-library ended before its answer",
                            remedy: "see journalctl -u 'station-library@*'")
                    }
                    guard !message.isTruncated else {
                        throw StationError(
                            "library_lost", "station-library said more than fits into a message",
                            remedy: "stationctl --version and station-library --version should be one version")
                    }
                    let decoded = try JSONDecoder().decode(LibraryMessage.self, from: Data(message.bytes))
                    if case .failed(let error) = decoded { throw error }
                    continuation.yield(decoded)
                    if decoded.isLast { return continuation.finish() }
                }
            } catch let error as SystemError {
                continuation.finish(
                    throwing: error.asStationError(
                        "library_unreachable", remedy: "systemctl status station-library.socket"))
            } catch {
                continuation.finish(throwing: error)
            }
        }
        return stream
    }

    /// Has something done to its end, also in a task that was cancelled: what a record no longer knows must not stay.
    package func complete(_ request: LibraryRequest) async throws {
        try await Task { for try await _ in perform(request) {} }.value
    }

    /// Somebody listens; once nobody does, the connection ends, be it there or yet to come.
    private final class Interest: Sendable {
        private let state = Mutex<(isOver: Bool, socket: LocalSocket?)>((false, nil))

        func hold(_ socket: LocalSocket) {
            let isOver = state.withLock {
                $0.socket = socket
                return $0.isOver
            }
            if isOver { socket.hangUp() }
        }

        func end() {
            let socket = state.withLock {
                $0.isOver = true
                return $0.socket
            }
            socket?.hangUp()
        }
    }

    private func connect(_ queue: DispatchQueue) throws -> LocalSocket {
        switch launch {
        case .socket(let path): return try LocalSocket.connect(to: path, .messages)
        case .program(let path, let arguments):
            let (mine, theirs) = try LocalSocket.pair(.messages)
            let child = try ChildProcess(path, ["--connected", "3"] + arguments, descriptors: [theirs.descriptor])
            try child.onExit(queue: queue) { _ in }
            return mine
        }
    }
}
