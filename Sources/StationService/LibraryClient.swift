@preconcurrency import Dispatch
import FoundationEssentials
import Glibc
package import StationCore
package import StationLinux

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
    /// Blocking conversations stay off the cooperative pool.
    private let queue = DispatchQueue(label: "library", attributes: .concurrent)

    package init(launch: LibraryLaunch) { self.launch = launch }

    /// Asks, and passes on everything that is answered. The stream ends after the last message; when nobody listens any
    /// more, the connection is closed and the library stops.
    package func perform(_ request: LibraryRequest, files: [Descriptor] = []) -> AsyncThrowingStream<
        LibraryMessage, any Error
    > {
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: LibraryMessage.self)
        queue.async {
            do {
                let socket = try connect()
                continuation.onTermination = { _ in socket.hangUp() }
                _ = try socket.send(JSONEncoder().encode(request), descriptors: files)
                while true {
                    // A library that is killed with something unread in its socket resets the connection.
                    let message = try? socket.receive(limit: LibraryRequest.messageLimit)
                    guard let message, !message.bytes.isEmpty else {
                        throw StationError(
                            "library_lost", "station-library ended before its answer",
                            remedy: "see journalctl -u 'station-library@*'")
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

    private func connect() throws -> LocalSocket {
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
