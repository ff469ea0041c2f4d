import StationCore
import StationLinux

/// The picture of `display` for a terminal of some size: a head with host and clock, and a tile for each slot.
struct WallPicture {
    let console: Console
    let columns: Int
    let rows: Int

    /// - Parameter turn: counts the pages that were shown; they follow each other round and round.
    /// - Returns: as many lines as there are rows, each as wide as the terminal.
    func lines(_ feed: StationFeed, turn: Int) -> [String] {
        var lines = head
        let slots = feed.status?.slots ?? []
        if let trouble = feed.trouble {
            lines += banner(trouble, feed: feed, isAlone: feed.status == nil)
        } else {
            lines.append(
                feed.news.map { StyledLine(" \($0) ", .goodWord) } ?? StationSummary(slots).line(width: columns))
        }
        if let problem = feed.status?.problems.first {
            lines.append(StyledLine("! " + problem.message.printable(limit: 300), .bad))
        }
        let room = rows - lines.count
        if feed.status != nil, slots.isEmpty {
            lines += centred("NO SLOTS", .attention, rows: room - 2)
            lines.append(StyledLine("No slot is declared yet: sudo stationctl slot learn slot1").centred(in: columns))
        } else if room > 0, !slots.isEmpty {
            lines += tiles(slots, rows: room, turn: turn, isStale: feed.lostAt != nil)
        }
        lines += Array(repeating: StyledLine(), count: max(0, rows - lines.count))
        return lines.prefix(rows).map { line in
            var line = line
            line.pad(to: columns)
            return line.text(on: console, width: columns)
        }
    }

    // MARK: The head

    /// In block letters where they cost little of the screen.
    private var head: [StyledLine] {
        let clock = LocalTime.clock(SystemClock.wallSeconds())
        let host = WatchPicture.hostName
        let limit = rows / 12
        let letters = BlockLetters.sizes(hasHalfBlocks: console.hasHalfBlocks).last { size in
            guard size != .text, size.rowCount <= limit, let left = size.width(of: host),
                let right = size.width(of: clock)
            else { return false }
            return left + right + 8 <= columns
        }
        guard let letters else {
            var line = StyledLine("flashing station", .strong)
            line.add("  " + host)
            line = line.fitted(to: max(0, columns - clock.count - 2), mark: console.cutMark)
            line.pad(to: columns - clock.count)
            line.add(clock, .strong)
            return [line]
        }
        let right = letters.lines(clock)
        return zip(letters.lines(host), right).map { left, right in
            var line = StyledLine(left)
            line.pad(to: columns - right.count)
            line.add(right, .strong)
            return line
        } + [StyledLine()]
    }

    /// That the station is away, or silent, in letters that nobody overlooks.
    /// - Parameter isAlone: there is nothing else to show.
    private func banner(_ trouble: StationFeed.Trouble, feed: StationFeed, isAlone: Bool) -> [StyledLine] {
        let word: String
        var texts: [String]
        switch trouble {
        case .lost(let since):
            word = "NO STATION"
            texts = [
                isAlone
                    ? "waiting for it since \(LocalTime.clock(since))"
                    : "since \(LocalTime.clock(since)): trying again. Below is what it said last."
            ]
            if isAlone, let problem = feed.problem {
                texts += [problem.message, problem.remedy].filter { !$0.isEmpty }.map { $0.printable(limit: 300) }
            }
        case .silent(let seconds):
            word = "NO NEWS"
            texts = ["for \(Quantity.seconds(seconds)) though jobs run"]
        }
        let share = isAlone ? rows - texts.count - 2 : rows / 3
        return centred(word, .badTile, rows: share)
            + texts.map { StyledLine($0, .badTile).centred(in: columns, style: .badTile) } + [StyledLine()]
    }

    /// A word in the largest letters that fit so many rows, over the whole width.
    private func centred(_ word: String, _ style: Console.Style, rows: Int) -> [StyledLine] {
        let letters = BlockLetters.sizes(hasHalfBlocks: console.hasHalfBlocks).last { size in
            size.rowCount <= rows && size.width(of: word).map { $0 <= columns - 2 } ?? false
        }
        return (letters ?? .text).lines(word).map { StyledLine($0, style).centred(in: columns, style: style) }
    }

    // MARK: The tiles

    private func tiles(_ slots: [SlotStatus], rows: Int, turn: Int, isStale: Bool) -> [StyledLine] {
        var grid = TileGrid(count: slots.count, columns: columns, rows: rows)
        var lines: [StyledLine] = []
        if grid.pageCount > 1 {
            grid = TileGrid(count: slots.count, columns: columns, rows: rows - 1)
            let page = grid.page(turn, of: slots.count)
            let text = "slots \(page.lowerBound + 1)-\(page.upperBound) of \(slots.count)"
            lines.append(StyledLine(text, .strong))
        }
        let shown = slots[grid.page(turn, of: slots.count)].map { slot in
            WallTile(
                slot: slot, width: grid.tileColumns, height: grid.tileRows, isStale: isStale, console: console
            ).lines
        }
        for first in stride(from: 0, to: shown.count, by: grid.across) {
            if first > 0 { lines += Array(repeating: StyledLine(), count: TileGrid.gap) }
            for row in 0..<grid.tileRows {
                var line = StyledLine()
                for index in first..<min(shown.count, first + grid.across) {
                    line.pad(to: (index - first) * (grid.tileColumns + TileGrid.gap))
                    line.add(shown[index][row])
                }
                lines.append(line)
            }
        }
        return lines
    }
}

extension StyledLine {
    /// With space before and behind it; a style for that space where it is more than nothing.
    func centred(in width: Int, style: Console.Style = .plain) -> StyledLine {
        let space = max(0, width - self.width)
        var line = StyledLine(String(repeating: " ", count: space / 2), style)
        line.add(self)
        line.add(String(repeating: " ", count: space - space / 2), style)
        return line
    }
}
