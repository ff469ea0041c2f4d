import CLinux
import Glibc

/// A message and the descriptors that came beside it.
package struct ReceivedMessage: Sendable {
    /// Empty at the end of the connection.
    package var bytes: [UInt8]
    package var descriptors: [Descriptor]
    /// The message or its descriptors did not fit and are incomplete.
    package var isTruncated: Bool
}

/// Who is at the other end of a socket, as the kernel vouches.
package struct PeerCredentials: Equatable, Sendable {
    package var userID: UInt32
    package var groupID: UInt32
    package var processID: Int32
    /// The supplementary groups.
    package var groupIDs: [UInt32]
}

/// A local socket: of whole messages (`SOCK_SEQPACKET`), of a stream, or of datagrams.
package final class LocalSocket: Sendable {
    package enum Kind: Sendable {
        /// Message boundaries are kept.
        case messages
        case stream
        /// Messages that nobody answers (`SOCK_DGRAM`).
        case datagrams

        var number: Int32 {
            switch self {
            case .messages: Int32(SOCK_SEQPACKET.rawValue)
            case .stream: Int32(SOCK_STREAM.rawValue)
            case .datagrams: Int32(SOCK_DGRAM.rawValue)
            }
        }
    }

    package let descriptor: Descriptor

    package init(_ descriptor: Descriptor) { self.descriptor = descriptor }

    /// Connects to a socket in the file system. Blocks while the other side's queue is full.
    package static func connect(to path: String, _ kind: Kind) throws(SystemError) -> LocalSocket {
        LocalSocket(Descriptor(owning: try retrying("connect", path) { station_connect_unix(path, kind.number) }))
    }

    /// Makes a socket in the file system, non-blocking, and listens. The path must be free.
    package static func listen(at path: String, _ kind: Kind, mode: UInt32) throws(SystemError) -> LocalSocket {
        LocalSocket(
            Descriptor(owning: try retrying("listen", path) { station_listen_unix(path, kind.number, mode, 128) }))
    }

    /// Two sockets that are connected to each other.
    package static func pair(_ kind: Kind) throws(SystemError) -> (LocalSocket, LocalSocket) {
        var numbers: [Int32] = [-1, -1]
        _ = try retrying("socketpair", "") { station_socket_pair(kind.number, &numbers) }
        return (LocalSocket(Descriptor(owning: numbers[0])), LocalSocket(Descriptor(owning: numbers[1])))
    }

    /// Takes the next connection; nil when none waits on a non-blocking socket.
    package func accept(nonblocking: Bool) throws(SystemError) -> LocalSocket? {
        do {
            let number = try retrying("accept", "") { station_accept(descriptor.number, nonblocking ? 1 : 0) }
            return LocalSocket(Descriptor(owning: number))
        } catch {
            if error.number == EAGAIN || error.number == ECONNABORTED { return nil }
            throw error
        }
    }

    /// Sends bytes with descriptors beside them; never raises SIGPIPE.
    /// - Parameter waits: false makes a full queue an `EAGAIN`.
    /// - Returns: the number of bytes sent: all of a message, perhaps a part of a stream.
    package func send(_ bytes: some Sequence<UInt8>, descriptors: [Descriptor] = [], waits: Bool = true)
        throws(SystemError) -> Int
    {
        let numbers = descriptors.map(\.number)
        let payload = Array(bytes)
        let sent = try retrying("send", "") {
            payload.withUnsafeBytes { raw in
                station_send(
                    descriptor.number, raw.baseAddress, raw.count, numbers, Int32(numbers.count),
                    waits ? 0 : Int32(MSG_DONTWAIT))
            }
        }
        return sent
    }

    /// Receives the next message, or what is there of a stream.
    /// - Parameter waits: false makes an empty queue an `EAGAIN`.
    package func receive(limit: Int, waits: Bool = true) throws(SystemError) -> ReceivedMessage {
        var buffer = [UInt8](repeating: 0, count: limit)
        var numbers = [Int32](repeating: -1, count: 4)
        var received: Int32 = 0
        var truncated: Int32 = 0
        let got = try retrying("receive", "") {
            buffer.withUnsafeMutableBytes { raw in
                station_receive(
                    descriptor.number, raw.baseAddress, raw.count, &numbers, Int32(numbers.count), &received,
                    &truncated, waits ? 0 : Int32(MSG_DONTWAIT))
            }
        }
        let descriptors = numbers[..<Int(received)].map { Descriptor(owning: $0) }
        buffer.removeSubrange(Int(got)...)
        return ReceivedMessage(bytes: buffer, descriptors: Array(descriptors), isTruncated: truncated != 0)
    }

    /// Who is at the other end. Corresponds to `SO_PEERCRED` and `SO_PEERGROUPS`.
    package func peer() throws(SystemError) -> PeerCredentials {
        var user: UInt32 = 0
        var group: UInt32 = 0
        var process: Int32 = 0
        _ = try retrying("getsockopt", "SO_PEERCRED") {
            station_peer_user(descriptor.number, &user, &group, &process)
        }
        var groups = [UInt32](repeating: 0, count: 1024)
        var count = Int32(groups.count)
        _ = try retrying("getsockopt", "SO_PEERGROUPS") {
            station_peer_groups(descriptor.number, &groups, &count)
        }
        return PeerCredentials(
            userID: user, groupID: group, processID: process, groupIDs: Array(groups[..<Int(count)]))
    }

    /// Ends both directions; the other side reads the end of the connection.
    package func hangUp() { _ = shutdown(descriptor.number, Int32(SHUT_RDWR)) }
}
