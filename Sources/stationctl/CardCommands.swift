import StationCore
import StationLinux

/// `card list|show|forgive`: the cards that the station knows again.
enum CardCommands {
    static let all = [
        Command(
            "card list", summary: "Lists the cards that are known, the one seen last first",
            details:
                "A card is known by its own identity where the reader shows one (MMC hosts), and else, once it\nhas failed, by the mark that a failed job leaves on it. STATE is good, suspect, condemned, recovered\nor forgiven; a condemned card failed three times in a row and is refused.",
            options: [
                .init("--state", value: "STATE", "only cards in this state"),
                .init("--since", value: "TIME", "only cards seen at or after; see stationctl history --help"),
                .init("--limit", value: "N", "at most so many (50)"),
            ],
            examples: ["stationctl card list --state condemned", "stationctl card list --since 7d --json"],
            exits: Command.readingExits, run: list),
        Command(
            "card show", operands: "CARD", count: 1...1, summary: "Shows one card and its jobs",
            details: "CARD is a card or a job that failed on it, or the beginning of either.",
            examples: ["stationctl card show 1a2b3c4d"], run: show),
        Command(
            "card forgive", operands: "CARD", count: 1...1, summary: "Lets a card that failed begin anew",
            details: "Its failures no longer count, and it is written again when it comes back.",
            examples: ["stationctl card forgive 1a2b3c4d"], run: forgive),
    ]

    private static func list(_ context: Context) throws -> ExitCode {
        let cards = try fetch(context.connect(), query(context))
        if context.isJSON {
            context.console.json(Control.Cards(cards: cards))
        } else if cards.isEmpty {
            context.console.line("no card matches")
        } else {
            var table = Table(headings: ["CARD", "STATE", "FAILED", "PASSED", "LAST SEEN", "LAST FAILURE"])
            for card in cards {
                let failure = card.lastFailure.map { "\($0.slot): \($0.reason.rawValue)" } ?? ""
                table.rows.append([
                    .init(card.shortName), .init(card.state.rawValue, style(card)), .init("\(card.failedCount)"),
                    .init("\(card.passedCount)"), .init(LocalTime.text(card.lastSeenAt)), .init(failure),
                ])
            }
            let width = context.console.isTerminal ? context.console.size.columns : nil
            for line in table.lines(on: context.console, width: width) { context.console.line(line) }
        }
        return .success
    }

    private static func query(_ context: Context) throws(StationError) -> Control.CardQuery {
        var query = Control.CardQuery()
        let words = CardState.allCases.map(\.rawValue)
        if let word = context.arguments.value("--state") {
            guard words.contains(word) else {
                throw context.syntax.usage(
                    "“\(word.printable(limit: 40))” is no state of a card",
                    remedy: word.nearest(in: words).map { "did you mean \($0)?" }
                        ?? "one of: \(words.joined(separator: ", "))")
            }
            query.state = word
        }
        query.since = try context.time("--since")
        if let text = context.arguments.value("--limit") {
            guard let limit = Int(text), (1...10_000).contains(limit) else {
                throw context.syntax.usage("--limit takes a number from 1 to 10000")
            }
            query.limit = limit
        }
        return query
    }

    private static func fetch(
        _ client: ControlClient, _ query: Control.CardQuery
    ) throws(StationError) -> [CardRecord] {
        var cards: [CardRecord] = []
        try client.callMore(.listCards, query, as: Control.Cards.self) { reply in
            cards += reply.cards
            return true
        }
        return cards
    }

    private struct Shown: Encodable {
        var card: CardRecord
        var jobs: [JobRecord]
    }

    private static func show(_ context: Context) throws -> ExitCode {
        let client = try context.connect()
        let name = context.operands[0]
        let cards = try fetch(client, Control.CardQuery(card: name, limit: 2))
        guard let card = cards.first else {
            throw StationError(
                "card_unknown", "no card is known as \(name.printable(limit: 40))", remedy: "see stationctl card list")
        }
        guard cards.count == 1 else {
            throw StationError(
                "card_ambiguous", "more than one card begins with \(name.printable(limit: 40))",
                remedy: "give more digits; see stationctl card list")
        }
        let jobs = try HistoryCommand.fetch(client, Control.HistoryQuery(card: card.card.text, limit: 10_000))
        guard !context.isJSON else {
            context.console.json(Shown(card: card, jobs: jobs))
            return .success
        }
        show(card, context.console)
        if !jobs.isEmpty {
            context.console.line()
            HistoryCommand.list(jobs, context.console)
        }
        return .success
    }

    private static func show(_ card: CardRecord, _ console: Console) {
        var rows = [
            ("card", card.card.text), ("known by", card.identity == .cid ? "its own identity (CID)" : "its mark"),
            ("state", card.state.rawValue), ("size", Quantity.bytes(card.byteCount)),
            ("reader", card.model.printable(limit: 60)), ("first seen", LocalTime.text(card.firstSeenAt)),
            ("last seen", LocalTime.text(card.lastSeenAt)),
            ("jobs", "\(card.passedCount) passed, \(card.failedCount) failed"),
        ]
        if let failure = card.lastFailure {
            let clock = failure.wasClockSynchronised ? "" : " (the clock was not set)"
            rows.append(
                (
                    "failed last",
                    "\(LocalTime.text(failure.at))\(clock) in \(failure.slot): \(failure.reason.rawValue)"
                ))
        }
        if card.isSuspect { rows.append(("what to do", card.remedy)) }
        for (name, value) in rows { console.line("\(name.padded(to: 13))\(value)") }
    }

    private static func forgive(_ context: Context) throws -> ExitCode {
        let parameters = Control.CardReference(card: context.operands[0])
        let reply = try context.connect().call(.forgiveCard, parameters, as: Control.Card.self)
        if context.isJSON {
            context.console.json(reply)
        } else {
            context.console.line("card \(reply.card.shortName) is forgiven: its failures no longer count")
            context.console.line("pull it and insert it again to have it tried")
        }
        return .success
    }

    private static func style(_ card: CardRecord) -> Console.Style {
        switch card.state {
        case .good, .recovered: .good
        case .forgiven: .plain
        case .suspect: .attention
        case .condemned: .bad
        }
    }
}
