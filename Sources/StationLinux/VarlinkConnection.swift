import FoundationEssentials
import Glibc
package import StationCore

/// The client's half of a Varlink connection: calls go out, replies come in, one call at a time. Everything blocks.
///
/// Not to be shared between threads.
package final class VarlinkConnection {
    private let socket: LocalSocket
    private let path: String
    private var received: [UInt8] = []
    /// How much of `received` is known to hold no end of a message.
    private var searched = 0

    /// - Throws: `station_unreachable`, `permission_denied`.
    package init(socketPath: String) throws(StationError) {
        path = socketPath.printable()
        do {
            socket = try LocalSocket.connect(to: socketPath, .stream)
        } catch {
            switch error.number {
            case EACCES, EPERM:
                throw StationError(
                    "permission_denied", "you may not reach the station's socket \(path)",
                    remedy: "sudo usermod -aG station USER (or station-operator, to change things), then log in anew")
            case ENOENT, ECONNREFUSED:
                throw StationError(
                    "station_unreachable", "no station answers at \(path)",
                    remedy: "systemctl status stationd, or start it: sudo systemctl start stationd")
            default:
                throw StationError(
                    "station_unreachable",
                    "the station at \(path) cannot be reached: \(SystemError.text(error.number))",
                    remedy: "systemctl status stationd")
            }
        }
    }

    /// Calls a method and waits for its one reply.
    /// - Parameter descriptors: go beside the call.
    /// - Throws: `VarlinkError` for an error the service replies; `StationError` `station_hung_up`, `protocol_error`.
    package func call<Reply: Decodable>(
        _ method: String, _ parameters: some Encodable, descriptors: [Descriptor] = [], as: Reply.Type = Reply.self
    ) throws -> Reply {
        try send(method, parameters, more: false, descriptors: descriptors)
        return try next(Reply.self).reply
    }

    /// Calls a method that replies several times, and hands out each reply as it comes.
    /// - Parameter each: false ends it early, after which the connection is of no use any more.
    /// - Throws: as `call` does.
    package func callMore<Reply: Decodable>(
        _ method: String, _ parameters: some Encodable, descriptors: [Descriptor] = [], as: Reply.Type = Reply.self,
        each: (Reply) throws -> Bool
    ) throws {
        try send(method, parameters, more: true, descriptors: descriptors)
        while true {
            let (reply, continues) = try next(Reply.self)
            guard try each(reply), continues else { return }
        }
    }

    /// Readable when replies are there, or the connection has ended.
    package var descriptor: Descriptor { socket.descriptor }

    /// Calls a method that replies several times; the replies are taken with `newestReply`.
    package func begin(_ method: String, _ parameters: some Encodable) throws {
        try send(method, parameters, more: true, descriptors: [])
    }

    /// The newest of the replies that are there; those before it are of no interest any more. Never waits.
    /// - Returns: nil when none is there yet.
    /// - Throws: as `call` does.
    package func newestReply<Reply: Decodable>(as: Reply.Type = Reply.self) throws -> Reply? {
        var newest: Reply?
        while let message = try nextMessage(waits: false) { newest = try decode(message, as: Reply.self).reply }
        return newest
    }

    private struct Call<Parameters: Encodable>: Encodable {
        var method: String
        var parameters: Parameters
        var more: Bool?
    }

    private func send(
        _ method: String, _ parameters: some Encodable, more: Bool, descriptors: [Descriptor]
    ) throws {
        let call = Call(method: method, parameters: parameters, more: more ? true : nil)
        guard let data = try? JSONEncoder().encode(call) else {
            throw StationError("protocol_error", "the call cannot be written as JSON")
        }
        var bytes = Array(data)[...] + [0]
        var descriptors = descriptors
        do {
            while !bytes.isEmpty {
                bytes = bytes.dropFirst(try socket.send(bytes, descriptors: descriptors))
                descriptors = []
            }
        } catch {
            // A service that refuses a connection says so before it hangs up: let the reply be read.
            if error.number != EPIPE && error.number != ECONNRESET { throw hungUp }
        }
    }

    private struct ReplyHead: Decodable {
        var continues: Bool?
        var error: String?
    }

    private struct ReplyBody<Parameters: Decodable>: Decodable { var parameters: Parameters? }

    private func next<Reply: Decodable>(_: Reply.Type) throws -> (reply: Reply, continues: Bool) {
        guard let message = try nextMessage(waits: true) else { throw hungUp }
        return try decode(message, as: Reply.self)
    }

    private func decode<Reply: Decodable>(_ bytes: [UInt8], as: Reply.Type) throws -> (reply: Reply, continues: Bool) {
        let message = Data(bytes)
        guard let head = try? JSONDecoder().decode(ReplyHead.self, from: message) else {
            throw StationError("protocol_error", "what answers at \(path) speaks no Varlink")
        }
        if let error = head.error {
            let body = try? JSONDecoder().decode(ReplyBody<[String: JSONValue]>.self, from: message)
            throw VarlinkError(name: error, parameters: body?.parameters ?? [:])
        }
        do {
            if let reply = try JSONDecoder().decode(ReplyBody<Reply>.self, from: message).parameters {
                return (reply, head.continues ?? false)
            }
            return (try JSONDecoder().decode(Reply.self, from: Data("{}".utf8)), head.continues ?? false)
        } catch {
            throw StationError(
                "protocol_error", "the station answers in a way this program does not know",
                remedy: "stationctl and stationd should be of one version: stationctl --version, stationd --version")
        }
    }

    /// - Returns: nil when no whole message is there; only where it does not wait.
    private func nextMessage(waits: Bool) throws -> [UInt8]? {
        while true {
            if let end = received[searched...].firstIndex(of: 0) {
                let message = Array(received[..<end])
                received.removeSubrange(...end)
                searched = 0
                return message
            }
            searched = received.count
            guard received.count <= Varlink.messageLimit else {
                throw StationError("protocol_error", "what answers at \(path) sends a message that does not end")
            }
            do {
                let more = try socket.receive(limit: 128 * 1024, waits: waits)
                guard !more.bytes.isEmpty else { throw hungUp }
                received += more.bytes
            } catch let error as SystemError {
                if !waits, error.number == EAGAIN { return nil }
                throw hungUp
            }
        }
    }

    private var hungUp: StationError {
        StationError(
            "station_hung_up", "the station at \(path) closed the connection",
            remedy: "it was stopped or restarted, perhaps: systemctl status stationd")
    }
}

/// An error that a Varlink service replied: its full name, and what belongs to it.
package struct VarlinkError: Error, Equatable, Sendable {
    package var name: String
    package var parameters: [String: JSONValue]

    /// A member of the parameters that is a text, made printable; empty when there is none.
    package func text(_ member: String) -> String {
        if case .string(let text)? = parameters[member] { return text.printable(limit: 2000) }
        return ""
    }
}
