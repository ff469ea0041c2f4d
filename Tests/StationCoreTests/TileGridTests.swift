import StationCore
import Testing

@Suite("A screen divided among slots")
struct TileGridTests {
    private static let screens = [
        (80, 23), (80, 25), (100, 37), (128, 48), (160, 50), (240, 60), (240, 67), (40, 10), (20, 4), (1, 1),
    ]

    @Test("every slot is on one page, and no tile reaches beyond the screen", arguments: screens)
    func everything(columns: Int, rows: Int) {
        for count in 0...70 {
            let grid = TileGrid(count: count, columns: columns, rows: rows)
            #expect(grid.tileColumns > 0 && grid.tileRows > 0, "\(count)")
            #expect(grid.across * grid.tileColumns + (grid.across - 1) * TileGrid.gap <= columns, "\(count)")
            #expect(grid.down * grid.tileRows + (grid.down - 1) * TileGrid.gap <= rows, "\(count)")
            let pages = (0..<grid.pageCount).map { grid.page($0, of: count) }
            #expect(pages.flatMap { Array($0) } == Array(0..<count), "\(count)")
            #expect(pages.allSatisfy { $0.count <= grid.tilesPerPage }, "\(count)")
            #expect(grid.page(grid.pageCount, of: count) == pages[0], "round and round")
        }
    }

    @Test("sixteen slots and fewer need no second page on a console", arguments: screens.prefix(7), 1...16)
    func onePage(screen: (Int, Int), count: Int) {
        #expect(TileGrid(count: count, columns: screen.0, rows: screen.1).pageCount == 1)
    }

    @Test(
        "tiles are as large as the word PASSED can be in them",
        arguments: [
            (1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (6, 2, 3), (8, 2, 4), (16, 4, 4),
        ])
    func console(count: Int, across: Int, down: Int) {
        let grid = TileGrid(count: count, columns: 80, rows: 23)
        #expect((grid.across, grid.down) == (across, down))
    }

    @Test("more slots never get larger tiles")
    func monotonic() {
        for (columns, rows) in Self.screens {
            let areas = (1...40).map { TileGrid(count: $0, columns: columns, rows: rows) }.map {
                $0.tileColumns * $0.tileRows
            }
            #expect(areas[0] >= areas[15] && areas[3] >= areas[15] && areas[0] >= areas[39])
        }
    }
}
