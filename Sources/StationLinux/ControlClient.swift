package import StationCore

/// Calls the station's methods over the control socket, and turns what it refuses into errors with a code and a mend.
/// Everything blocks. Not to be shared between threads.
package final class ControlClient {
    private let connection: VarlinkConnection

    /// - Throws: `station_unreachable`, `permission_denied`.
    package init(socketPath: String) throws(StationError) {
        connection = try VarlinkConnection(socketPath: socketPath)
    }

    /// Calls a method and waits for its one reply.
    /// - Throws: what the station replies; `permission_denied`, `parameter_invalid`, `station_version`,
    ///   `station_hung_up`, `protocol_error`.
    package func call<Reply: Decodable>(
        _ method: Control.Method, _ parameters: some Encodable = Control.Empty(), descriptors: [Descriptor] = [],
        as: Reply.Type = Reply.self
    ) throws(StationError) -> Reply {
        do {
            return try connection.call(method.qualifiedName, parameters, descriptors: descriptors, as: Reply.self)
        } catch {
            throw Self.stationError(error, method)
        }
    }

    /// Calls a method that replies several times; `each` returns false to end it early.
    /// - Throws: as `call` does, and what `each` throws.
    package func callMore<Reply: Decodable>(
        _ method: Control.Method, _ parameters: some Encodable = Control.Empty(), descriptors: [Descriptor] = [],
        as: Reply.Type = Reply.self, each: (Reply) throws -> Bool
    ) throws(StationError) {
        do {
            try connection.callMore(
                method.qualifiedName, parameters, descriptors: descriptors, as: Reply.self, each: each)
        } catch {
            throw Self.stationError(error, method)
        }
    }

    /// Readable when replies are there, or the connection has ended.
    package var descriptor: Descriptor { connection.descriptor }

    /// Calls a method that goes on replying; the replies are taken with `newestReply`.
    /// - Throws: as `call` does.
    package func begin(_ method: Control.Method) throws(StationError) {
        do {
            try connection.begin(method.qualifiedName, Control.Empty())
        } catch {
            throw Self.stationError(error, method)
        }
    }

    /// The newest of the replies to `begin` that are there. Never waits.
    /// - Returns: nil when none is there yet.
    /// - Throws: as `call` does.
    package func newestReply<Reply: Decodable>(
        to method: Control.Method, as: Reply.Type = Reply.self
    ) throws(StationError) -> Reply? {
        do {
            return try connection.newestReply(as: Reply.self)
        } catch {
            throw Self.stationError(error, method)
        }
    }

    private static func stationError(_ error: any Error, _ method: Control.Method) -> StationError {
        if let error = error as? StationError { return error }
        guard let error = error as? VarlinkError else { return StationError("internal_error", "\(error)") }
        switch error.name {
        case "\(ControlInterface.name).Failed":
            return StationError(error.text("code"), error.text("message"), remedy: error.text("remedy"))
        case "org.varlink.service.PermissionDenied":
            return switch method.privilege {
            case .reader:
                StationError(
                    "permission_denied", "only members of the group station may ask the station",
                    remedy: "sudo usermod -aG station USER, then log in anew; or run it with sudo")
            case .operator:
                StationError(
                    "permission_denied", "only members of the group station-operator may do that",
                    remedy: "sudo usermod -aG station-operator USER, then log in anew; or run it with sudo")
            case .root: StationError("permission_denied", "only root may do that", remedy: "run it with sudo")
            }
        case "org.varlink.service.InvalidParameter":
            return StationError("parameter_invalid", "the station does not take this \(error.text("parameter"))")
        default:
            return StationError(
                "station_version",
                "the station does not know what is asked of it (\(error.name.printable(limit: 120)))",
                remedy: "stationctl and stationd should be of one version: stationctl --version, stationd --version")
        }
    }
}
