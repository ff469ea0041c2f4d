import Foundation
import StationCore
import StationLinux
import StationService
import Testing

/// A control server on a socket of its own, with a fake station behind it.
final class ServerUnderTest: Sendable {
    let station = FakeStation()
    let server: ControlServer
    let directory: String
    let socketPath: String

    /// What this process counts as.
    enum Caller: CaseIterable, Sendable {
        case root, `operator`, reader, stranger

        var access: ControlAccess {
            let group = getegid()
            return switch self {
            case .root: ControlAccess(readerGroupID: nil, operatorGroupID: nil, rootUserIDs: [geteuid()])
            case .operator: ControlAccess(readerGroupID: nil, operatorGroupID: group, rootUserIDs: [])
            case .reader: ControlAccess(readerGroupID: group, operatorGroupID: nil, rootUserIDs: [])
            case .stranger: ControlAccess(readerGroupID: nil, operatorGroupID: nil, rootUserIDs: [])
            }
        }

        var privilege: Control.Privilege? {
            switch self {
            case .root: .root
            case .operator: .operator
            case .reader: .reader
            case .stranger: nil
            }
        }
    }

    init(as caller: Caller = .root, limits: ControlLimits = ControlLimits()) async throws {
        directory = NSTemporaryDirectory() + "control-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        socketPath = directory + "/control"
        server = try ControlServer(
            socketPath: socketPath, control: station, access: caller.access,
            information: ServiceInformation(version: "1"), limits: limits)
        try await server.start()
    }

    func end() async {
        await server.stop()
        try? FileManager.default.removeItem(atPath: directory)
    }

    func client() throws -> RawClient { try RawClient(socketPath) }
}

/// A client that says exactly what it is told to.
final class RawClient: @unchecked Sendable {
    // Used by one test at a time; only moved to the thread that may block.
    let socket: LocalSocket
    private var received: [UInt8] = []

    init(_ path: String) throws { socket = try LocalSocket.connect(to: path, .stream) }

    func send(_ text: String, descriptors: [Descriptor] = []) throws {
        var bytes = Array(text.utf8)
        var descriptors = descriptors
        while !bytes.isEmpty {
            bytes.removeFirst(try socket.send(bytes, descriptors: descriptors))
            descriptors = []
        }
    }

    /// Sends calls, each with its zero byte.
    func call(_ messages: String...) throws { try send(messages.map { $0 + "\0" }.joined()) }

    /// The next message; nil at the end of the connection.
    func next() async -> String? {
        await blocking {
            while true {
                if let end = self.received.firstIndex(of: 0) {
                    let message = String(decoding: self.received[..<end], as: UTF8.self)
                    self.received.removeSubrange(...end)
                    return message
                }
                guard let more = try? self.socket.receive(limit: 64 * 1024), !more.bytes.isEmpty else { return nil }
                self.received += more.bytes
            }
        }
    }

    /// The next message as JSON.
    func reply() async throws -> [String: JSONValue] {
        let text = try #require(await next())
        return try JSONDecoder().decode([String: JSONValue].self, from: Data(text.utf8))
    }

    /// One call and its reply.
    func ask(_ method: String, _ parameters: String = "{}", more: Bool = false) async throws -> [String: JSONValue] {
        try call("{\"method\":\"\(method)\",\"parameters\":\(parameters)\(more ? ",\"more\":true" : "")}")
        return try await reply()
    }
}

/// Runs what blocks on a thread of its own: dispatch's pool is small, and shared by everything under test.
func blocking<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
        Thread.detachNewThread { continuation.resume(returning: body()) }
    }
}

/// Waits for a state, 10 s at most.
func eventually(_ condition: @Sendable () async -> Bool) async -> Bool {
    for _ in 0..<2000 {
        if await condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return false
}

extension [String: JSONValue] {
    var error: String? { if case .string(let name)? = self["error"] { name } else { nil } }
    var parameters: [String: JSONValue] { if case .object(let value)? = self["parameters"] { value } else { [:] } }
    var continues: Bool { self["continues"] == .bool(true) }
}

/// A method's full name.
func qualified(_ method: Control.Method) -> String { method.qualifiedName }
