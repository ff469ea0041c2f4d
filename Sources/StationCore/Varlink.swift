/// The two messages of the Varlink protocol; each goes over the socket as JSON with a zero byte behind it.
package enum Varlink {
    /// The longest message that is taken, in bytes.
    package static let messageLimit = 1 << 20

    /// What a client says.
    package struct Call: Codable, Equatable, Sendable {
        package var method: String
        package var parameters: JSONValue?
        package var more: Bool?
        package var oneway: Bool?
        package var upgrade: Bool?

        package init(method: String, parameters: JSONValue? = nil, more: Bool? = nil) {
            self.method = method
            self.parameters = parameters
            self.more = more
        }
    }

    /// What the service answers. `continues` announces another reply to the same call.
    package struct Reply: Codable, Equatable, Sendable {
        package var parameters: JSONValue?
        package var continues: Bool?
        package var error: String?

        package init(parameters: JSONValue? = nil, continues: Bool? = nil, error: String? = nil) {
            self.parameters = parameters
            self.continues = continues
            self.error = error
        }
    }
}
