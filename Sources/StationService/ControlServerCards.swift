import StationCore

/// The methods about cards and statistics.
extension ControlMethods {
    func cards(
        _ method: Control.Method, _ call: ControlCall, caller: UInt32, send: Send
    ) async throws -> [UInt8]? {
        let known = ControlInterface.parameterNames(of: method)
        switch method {
        case .listCards:
            let query = try call.parameters(Control.CardQuery.self, known: known)
            if let limit = query.limit, !(1...10_000).contains(limit) { throw CallRefusal.invalidParameter("limit") }
            if let state = query.state, CardState(rawValue: state) == nil {
                throw CallRefusal.invalidParameter("state")
            }
            return try await list(call, query, send: send)
        case .forgiveCard:
            let reference = try call.parameters(Control.CardReference.self, known: known)
            return encoder.reply(try await control.forgiveCard(reference.card, caller: caller))
        case .inspect:
            let query = try call.parameters(Control.SlotQuery.self, known: known)
            return try await inspect(call, query.slot, send: send)
        default:
            _ = try call.parameters(Control.Empty.self, known: known)
            return encoder.reply(try await control.statistics())
        }
    }

    private func list(_ call: ControlCall, _ query: Control.CardQuery, send: Send) async throws -> [UInt8]? {
        var cards = try await control.cards(query).cards[...]
        while call.more, cards.count > limits.jobsPerReply {
            let part = Control.Cards(cards: Array(cards.prefix(limits.jobsPerReply)))
            guard await send(encoder.reply(part, continues: true)) else { return nil }
            cards = cards.dropFirst(limits.jobsPerReply)
        }
        return encoder.reply(Control.Cards(cards: Array(cards)))
    }

    private func inspect(_ call: ControlCall, _ slot: String, send: Send) async throws -> [UInt8]? {
        for try await progress in try await control.inspect(slot: slot) {
            if progress.inspection != nil { return encoder.reply(progress) }
            guard call.more else { continue }
            guard await send(encoder.reply(progress, continues: true)) else { return nil }
        }
        try Task.checkCancellation()
        throw StationError("internal_error", "the look at the card ended without an answer")
    }
}
