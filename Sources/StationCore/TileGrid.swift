/// How a screen is divided among slots: tiles of one size, as large as fit, and pages where even small ones do not.
package struct TileGrid: Equatable, Sendable {
    /// Tiles beside each other, and one above the other.
    package let across: Int
    package let down: Int
    /// Of one tile, in character cells.
    package let tileColumns: Int
    package let tileRows: Int
    package let pageCount: Int

    /// Cells between two tiles, either way.
    package static let gap = 1
    /// What a tile is not made smaller than where there are pages instead.
    private static let leastColumns = 18
    private static let leastRows = 4
    /// What the word PASSED takes in block letters, with a name above it and what to do below.
    private static let wordColumns = 37.0
    private static let wordRows = 6.0

    package var tilesPerPage: Int { across * down }

    /// - Parameters:
    ///   - count: of slots, of any number; 0 is as 1.
    ///   - columns: of the room that the tiles share, in character cells; at least 1, as are the rows.
    package init(count: Int, columns: Int, rows: Int) {
        let count = max(1, count)
        let columns = max(1, columns)
        let rows = max(1, rows)
        func share(_ room: Int, among number: Int) -> Int { (room - Self.gap * (number - 1)) / number }
        let leastColumns = min(columns, Self.leastColumns)
        let leastRows = min(rows, Self.leastRows)
        let mostAcross = (columns + Self.gap) / (leastColumns + Self.gap)
        let mostDown = (rows + Self.gap) / (leastRows + Self.gap)
        var best: (across: Int, down: Int, size: Double)?
        for across in 1...max(1, min(count, mostAcross)) {
            let down = (count + across - 1) / across
            guard down <= mostDown else { continue }
            let size = min(
                Double(share(columns, among: across)) / Self.wordColumns,
                Double(share(rows, among: down)) / Self.wordRows)
            if size > best?.size ?? 0 { best = (across, down, size) }
        }
        across = best?.across ?? mostAcross
        down = best?.down ?? mostDown
        tileColumns = share(columns, among: across)
        tileRows = share(rows, among: down)
        pageCount = (count + across * down - 1) / (across * down)
    }

    /// The indices of the slots on a page; pages follow each other round and round.
    package func page(_ number: Int, of count: Int) -> Range<Int> {
        let first = number % pageCount * tilesPerPage
        return min(first, count)..<min(count, first + tilesPerPage)
    }
}
