import StationCore

/// Text in one line, in parts with styles of their own, that can be made to fit a width.
struct StyledLine {
    private(set) var parts: [(text: String, style: Console.Style)] = []

    init(_ text: String = "", _ style: Console.Style = .plain) { add(text, style) }

    mutating func add(_ text: String, _ style: Console.Style = .plain) {
        if !text.isEmpty { parts.append((text, style)) }
    }

    mutating func add(_ line: StyledLine) { parts += line.parts }

    var width: Int { parts.reduce(0) { $0 + $1.text.count } }

    /// With spaces behind it up to a width.
    mutating func pad(to width: Int) { add(String(repeating: " ", count: max(0, width - self.width))) }

    /// Cut at its end to a width, as the console shows it.
    func text(on console: Console, width: Int? = nil) -> String {
        guard let width, self.width > width else {
            return parts.map { console.styled($0.text, $0.style) }.joined()
        }
        var room = width
        var result = ""
        for (text, style) in parts where room > 0 {
            let cut = text.count < room ? text : text.cut(to: room, mark: console.cutMark, always: true)
            result += console.styled(cut, style)
            room -= cut.count
        }
        return result
    }
}

/// Rows of cells under headings, as wide as what stands in them.
struct Table {
    /// How a column gives way where a line does not fit.
    struct Column {
        var heading: String
        /// It is not made narrower than this.
        var minimum = 8
        /// The lowest gives way first; among equals the widest.
        var resists = 0
        /// Its end says as much as its beginning: names are cut in their middle.
        var keepsEnds = false
        /// It is left out on terminals that are narrower.
        var needsWidth = 0
    }

    struct Cell {
        var line: StyledLine

        init(_ text: String, _ style: Console.Style = .plain) { line = StyledLine(text, style) }
        init(_ line: StyledLine) { self.line = line }
    }

    var columns: [Column]
    var rows: [[Cell]] = []
    /// Lines below a row, indented, by the row's index.
    var notes: [Int: [String]] = [:]

    init(headings: [String]) { columns = headings.map { Column(heading: $0) } }
    init(columns: [Column]) { self.columns = columns }

    /// - Parameter width: what every line fits in; nil cuts and wraps nothing.
    func lines(on console: Console, width: Int?) -> [String] {
        let shown = columns.indices.filter { columns[$0].needsWidth <= width ?? .max }
        let widths = widths(of: shown, width: width)
        func line(_ cells: [StyledLine]) -> String {
            var result = StyledLine()
            for (position, index) in shown.enumerated() {
                var cell = cells[index]
                if columns[index].keepsEnds, cell.width > widths[position], let only = cell.parts.first {
                    cell = StyledLine(only.text.cutMiddle(to: widths[position], mark: console.cutMark), only.style)
                } else if cell.width > widths[position] {
                    cell = cell.fitted(to: widths[position], mark: console.cutMark)
                }
                if position < shown.count - 1 { cell.pad(to: widths[position] + 2) }
                result.add(cell)
            }
            return result.text(on: console, width: width)
        }
        var result = [line(columns.map { StyledLine($0.heading, .faint) })]
        for (index, row) in rows.enumerated() {
            result.append(line(row.map(\.line)))
            for note in notes[index] ?? [] {
                let lines = width.map { note.wrapped(to: max(16, $0 - 4)) } ?? [note]
                result += lines.map { "    " + $0 }
            }
        }
        return result
    }

    private func widths(of shown: [Int], width: Int?) -> [Int] {
        var widths = shown.map { index in
            ([columns[index].heading.count] + rows.map { $0[index].line.width }).max() ?? 0
        }
        guard let width else { return widths }
        while widths.reduce(0, +) + 2 * (widths.count - 1) > width {
            let candidates = widths.indices.filter { widths[$0] > columns[shown[$0]].minimum }
            let next = candidates.min { left, right in
                let (one, other) = (columns[shown[left]].resists, columns[shown[right]].resists)
                return one == other ? widths[left] > widths[right] : one < other
            }
            guard let next else { break }
            widths[next] -= 1
        }
        return widths
    }
}

extension StyledLine {
    /// Cut at its end.
    func fitted(to width: Int, mark: String) -> StyledLine {
        var result = StyledLine()
        for (text, style) in parts where result.width < width {
            let room = width - result.width
            result.add(text.count < room ? text : text.cut(to: room, mark: mark, always: self.width > width), style)
        }
        return result
    }
}

extension String {
    /// With spaces behind it up to a width in columns; never cut.
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }

    /// Cut to a width in columns, with a mark at its end where something is missing.
    /// - Parameter always: something is missing behind this text, even if all of it fits.
    func cut(to width: Int, mark: String = "…", always: Bool = false) -> String {
        guard count > width || (always && count == width) else { return self }
        return width > 0 ? String(prefix(width - 1)) + mark : ""
    }

    /// Cut to a width in columns in its middle: the ends of names tell them apart.
    func cutMiddle(to width: Int, mark: String = "…") -> String {
        guard count > width else { return self }
        guard width > 2 else { return cut(to: width, mark: mark) }
        return String(prefix(width / 2)) + mark + String(suffix(width - width / 2 - 1))
    }

    /// In lines of at most so many columns, broken at spaces; a word that is longer is broken, too.
    func wrapped(to width: Int) -> [String] {
        var lines: [String] = []
        for word in split(separator: " ") {
            if let last = lines.last, last.count + 1 + word.count <= width {
                lines[lines.count - 1] = last + " " + word
                continue
            }
            var rest = word
            while rest.count > width {
                lines.append(String(rest.prefix(width)))
                rest = rest.dropFirst(width)
            }
            lines.append(String(rest))
        }
        return lines
    }
}
