import Glibc
import StationCore
import StationLinux

/// The picture of `watch` for a terminal of some size: the most generous form in which all slots fit, else a part of them.
struct WatchPicture {
    /// What stands in place of the summary while there is something to say of the connection.
    struct Headline {
        var text: String
        var isBad: Bool
    }

    let console: Console
    let columns: Int
    let rows: Int

    private static let gap = 3

    /// - Parameters:
    ///   - isStale: the station is away; slots are shown as they were.
    ///   - scroll: the first row of slots to show.
    /// - Returns: as many lines as there are rows, each as wide as the terminal, and the scroll position that was possible.
    func lines(
        _ status: Control.Status, headline: Headline?, isStale: Bool, scroll: Int
    ) -> (lines: [String], scroll: Int) {
        var head = [title]
        if let headline {
            var line = StyledLine(" \(headline.text) ", headline.isBad ? .badWord : .goodWord)
            if headline.isBad { line.pad(to: columns) }
            head.append(line)
        } else {
            head.append(StationSummary(status.slots).line(width: columns))
        }
        if rows > 10 { head.append(StyledLine()) }
        let room = max(1, rows - head.count - (rows > 4 ? 1 : 0))
        let form = Form.fitting(status.slots.count, columns: columns, rows: room)
        let total = form.rowCount(status.slots.count)
        let first = max(0, min(scroll, total - form.visibleRows(room)))
        var body = form.body(status.slots, from: first, picture: self, isStale: isStale)
        if status.slots.isEmpty {
            body = [StyledLine("No slot is declared yet:"), StyledLine("  sudo stationctl slot learn slot1", .strong)]
        }
        body = Array(body.prefix(room))
        var lines = head + body
        let footCount = rows > 4 ? 1 : 0
        lines += Array(repeating: StyledLine(), count: max(0, rows - footCount - lines.count))
        if footCount > 0 { lines.append(foot(status, first: first, form: form, room: room)) }
        let shown = lines.prefix(rows).map { line in
            var line = line
            line.pad(to: columns)
            return line.text(on: console, width: columns)
        }
        return (shown, first)
    }

    static var hostName: String {
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, name.count - 1)
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).printable(
            limit: 60)
    }

    private var title: StyledLine {
        let clock = LocalTime.clock(SystemClock.wallSeconds())
        var line = StyledLine("flashing station", .strong)
        line.add("  " + Self.hostName, .faint)
        line = line.fitted(to: max(0, columns - clock.count - 2), mark: console.cutMark)
        line.pad(to: columns - clock.count)
        line.add(clock, .faint)
        return line
    }

    private func foot(_ status: Control.Status, first: Int, form: Form, room: Int) -> StyledLine {
        let count = status.slots.count
        let shown = form.visibleRows(room) * form.acrossCount
        var line = StyledLine("q quits", .faint)
        if count > shown {
            let from = first * form.acrossCount
            line = StyledLine("slots \(from + 1)–\(min(count, from + shown)) of \(count), ↑ ↓ scroll, q quits", .faint)
        }
        if let problem = status.problems.first {
            line.add("   ")
            line.add("! " + problem.message.printable(limit: 300), .bad)
        }
        return line
    }

    /// How much room each slot gets.
    struct Form {
        /// Lines of one slot; those of 5 and 3 end in an empty one, which the last row does without.
        var height: Int
        /// Slots beside each other.
        var acrossCount: Int
        var columns: Int

        static func fitting(_ count: Int, columns: Int, rows: Int) -> Form {
            let across = max(1, (columns + gap) / (56 + gap))
            for height in [5, 3, 2, 1] {
                for number in 1...across {
                    let form = Form(height: height, acrossCount: number, columns: columns)
                    if form.rowCount(count) <= form.visibleRows(rows) { return form }
                }
            }
            return Form(height: 1, acrossCount: across, columns: columns)
        }

        func rowCount(_ count: Int) -> Int { (count + acrossCount - 1) / acrossCount }
        func visibleRows(_ rows: Int) -> Int { max(1, (rows + (height == 5 || height == 3 ? 1 : 0)) / height) }
        var cellWidth: Int { (columns - gap * (acrossCount - 1)) / acrossCount }

        func body(_ slots: [SlotStatus], from first: Int, picture: WatchPicture, isStale: Bool) -> [StyledLine] {
            let nameWidth = min(max(8, cellWidth / 5), slots.map(\.name.text.count).max() ?? 0)
            let cells = slots.map {
                WatchCell(
                    slot: $0, width: cellWidth, nameWidth: nameWidth, isStale: isStale, console: picture.console
                ).lines(height: height)
            }
            var lines: [StyledLine] = []
            for row in stride(from: first * acrossCount, to: cells.count, by: acrossCount) {
                for line in 0..<height {
                    var whole = StyledLine()
                    for index in row..<min(cells.count, row + acrossCount) {
                        if index > row { whole.pad(to: (index - row) * (cellWidth + gap)) }
                        if line < cells[index].count { whole.add(cells[index][line]) }
                    }
                    lines.append(whole)
                }
            }
            return lines
        }
    }
}
