import FoundationEssentials
import StationCore
import StationLinux

/// One call as it came in: its head is read, its parameters are not yet.
struct ControlCall: Sendable {
    private struct Head: Decodable {
        var method: String
        var more: Bool?
        var oneway: Bool?
        var upgrade: Bool?
    }

    let method: String
    /// The client takes several replies.
    let more: Bool
    /// The client takes no reply.
    let isOneWay: Bool
    let wantsUpgrade: Bool
    /// The files that came beside it.
    var descriptors: [Descriptor] = []
    private let message: Data

    /// - Parameter message: without its zero byte.
    /// - Returns: nil when it is no call at all.
    init?(message: some Sequence<UInt8>) {
        self.message = Data(message)
        guard let head = try? JSONDecoder().decode(Head.self, from: self.message) else { return nil }
        method = head.method
        more = head.more ?? false
        isOneWay = head.oneway ?? false
        wantsUpgrade = head.upgrade ?? false
    }

    /// The method of the station's own interface; nil for any other.
    var stationMethod: Control.Method? {
        let prefix = ControlInterface.name + "."
        return method.hasPrefix(prefix) ? Control.Method(rawValue: String(method.dropFirst(prefix.count))) : nil
    }

    /// Reads the parameters.
    /// - Parameter known: the names that a parameter may have; any other is refused.
    /// - Throws: `CallRefusal.invalidParameter`, naming the first that is wrong.
    func parameters<Parameters: Decodable>(_: Parameters.Type, known: [String]) throws -> Parameters {
        let names: Names?
        do { names = try JSONDecoder().decode(Body<Names>.self, from: message).parameters } catch {
            throw CallRefusal.invalidParameter("parameters")
        }
        if let unknown = names?.names.first(where: { !known.contains($0) }) {
            throw CallRefusal.invalidParameter(unknown.printable(limit: 60))
        }
        do {
            if let parameters = try JSONDecoder().decode(Body<Parameters>.self, from: message).parameters {
                return parameters
            }
            return try JSONDecoder().decode(Parameters.self, from: Data("{}".utf8))
        } catch let error as DecodingError {
            throw CallRefusal.invalidParameter(Self.parameterName(error))
        }
    }

    private struct Body<Parameters: Decodable>: Decodable { var parameters: Parameters? }

    /// The names in an object, whatever they stand for.
    private struct Names: Decodable {
        struct Key: CodingKey {
            let stringValue: String
            var intValue: Int? { nil }
            init(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }

        let names: [String]

        init(from decoder: any Decoder) throws {
            names = try decoder.container(keyedBy: Key.self).allKeys.map(\.stringValue).sorted()
        }
    }

    private static func parameterName(_ error: DecodingError) -> String {
        var path: [any CodingKey]
        switch error {
        case .keyNotFound(let key, let context): path = context.codingPath + [key]
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            path = context.codingPath
        @unknown default: path = []
        }
        if path.first?.stringValue == "parameters" { path.removeFirst() }
        return path.first?.stringValue ?? "parameters"
    }
}

/// Why a call is not carried out: one of Varlink's own errors.
enum CallRefusal: Error, Equatable {
    case interfaceNotFound(String)
    case methodNotFound(String)
    case methodNotImplemented(String)
    case invalidParameter(String)
    case permissionDenied
    /// The method replies several times, and the client did not say `more`.
    case expectedMore

    var name: String {
        switch self {
        case .interfaceNotFound: "org.varlink.service.InterfaceNotFound"
        case .methodNotFound: "org.varlink.service.MethodNotFound"
        case .methodNotImplemented: "org.varlink.service.MethodNotImplemented"
        case .invalidParameter: "org.varlink.service.InvalidParameter"
        case .permissionDenied: "org.varlink.service.PermissionDenied"
        case .expectedMore: "org.varlink.service.ExpectedMore"
        }
    }

    var parameters: [String: String] {
        switch self {
        case .interfaceNotFound(let name): ["interface": name]
        case .methodNotFound(let name), .methodNotImplemented(let name): ["method": name]
        case .invalidParameter(let name): ["parameter": name]
        case .permissionDenied, .expectedMore: [:]
        }
    }
}

/// Replies as they go over the socket: JSON and a zero byte.
struct ReplyEncoder: Sendable {
    let byteLimit: Int

    private struct Reply<Parameters: Encodable>: Encodable {
        var parameters: Parameters
        var continues: Bool?
        var error: String?
    }

    func reply(_ parameters: some Encodable, continues: Bool = false) -> [UInt8] {
        guard let bytes = bytes(Reply(parameters: parameters, continues: continues ? true : nil)) else {
            return failure(StationError("internal_error", "the reply cannot be written as JSON"))
        }
        guard bytes.count <= byteLimit else {
            return failure(
                StationError(
                    "reply_too_large", "the reply would be larger than \(byteLimit) bytes",
                    remedy: "ask for less, or call with more"))
        }
        return bytes
    }

    func refusal(_ refusal: CallRefusal) -> [UInt8] {
        bytes(Reply(parameters: refusal.parameters, error: refusal.name)) ?? []
    }

    /// An error of the station's own.
    func failure(_ error: StationError) -> [UInt8] {
        let shown = StationError(
            error.code, error.message.printable(limit: 2000), remedy: error.remedy.printable(limit: 2000))
        return bytes(Reply(parameters: shown, error: "\(ControlInterface.name).Failed")) ?? []
    }

    private func bytes(_ value: some Encodable) -> [UInt8]? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { return nil }
        return Array(data) + [0]
    }
}
