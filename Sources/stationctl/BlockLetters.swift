import StationCore

/// A size of letters that are read from afar, drawn with blocks of whole character cells, and of half ones where the screen has
/// them.
struct BlockLetters: Equatable {
    private enum Font { case small, large }

    /// Nil for ordinary text, a letter in a cell.
    private let font: Font?
    /// What one dot of a letter takes: columns, and halves of rows. A cell is about twice as high as it is wide.
    private let dotColumns: Int
    private let dotHalves: Int

    static let text = BlockLetters(font: nil, dotColumns: 1, dotHalves: 2)

    /// Ordinary text, and all that can be drawn, by how much room they take.
    static func sizes(hasHalfBlocks: Bool) -> [BlockLetters] { hasHalfBlocks ? all : whole }

    private static let all: [BlockLetters] = {
        var sizes: [BlockLetters] = []
        for font in [Font.small, .large] {
            for columns in 1...(font == .small ? 2 : 10) {
                // Square dots, and dots up to twice as high: letters that are narrow for their height are read as well.
                for halves in columns...2 * columns {
                    sizes.append(BlockLetters(font: font, dotColumns: columns, dotHalves: halves))
                }
            }
        }
        return [text] + sizes.sorted { ($0.cellCount, $0.rowCount) < ($1.cellCount, $1.rowCount) }
    }()
    private static let whole = all.filter { $0.dotHalves % 2 == 0 }

    private var dots: Drawn { font == .small ? Self.small : Self.large }
    private var cellCount: Int { rowCount * (dots.height - 2) * dotColumns }

    /// How many rows letters of this size take.
    var rowCount: Int { font == nil ? 1 : (dots.height * dotHalves + 1) / 2 }

    /// How many columns the text takes; nil when it has a letter that is not drawn.
    func width(of text: String) -> Int? {
        guard font != nil else { return text.count }
        var columns = 0
        for character in text.uppercased() {
            guard let glyph = dots.glyphs[character] else { return nil }
            columns += (glyph[0].count + 1) * dotColumns
        }
        return max(0, columns - dotColumns)
    }

    /// The text in as many lines as this size has rows, all of one width; empty when it has a letter that is not drawn.
    func lines(_ text: String) -> [String] {
        guard font != nil else { return [text] }
        var halves = Array(repeating: [Bool](), count: dots.height * dotHalves)
        for character in text.uppercased() {
            guard let glyph = dots.glyphs[character] else { return [] }
            for row in halves.indices {
                if !halves[row].isEmpty { halves[row] += Array(repeating: false, count: dotColumns) }
                for dot in glyph[row / dotHalves] { halves[row] += Array(repeating: dot, count: dotColumns) }
            }
        }
        return stride(from: 0, to: halves.count, by: 2).map { row in
            let upper = halves[row]
            let lower = row + 1 < halves.count ? halves[row + 1] : Array(repeating: false, count: upper.count)
            return String(
                zip(upper, lower).map { (upper, lower) -> Character in
                    upper ? (lower ? "█" : "▀") : (lower ? "▄" : " ")
                })
        }
    }

    // MARK: The fonts

    private typealias Drawn = (height: Int, glyphs: [Character: [[Bool]]])

    /// Reads a drawing: a line of characters, then the lines of dots below them, and again.
    private static func font(height: Int, _ drawing: String) -> Drawn {
        let lines = drawing.split(separator: "\n").map { Array($0) }
        let space = Array(repeating: Array(repeating: false, count: height / 2), count: height)
        var glyphs: [Character: [[Bool]]] = [" ": space]
        for first in stride(from: 0, to: lines.count, by: height + 1) {
            for (column, character) in lines[first].enumerated() where character != " " {
                glyphs[character] = lines[first + 1...first + height].map { line in
                    line[column...].prefix { $0 != " " }.map { $0 == "#" }
                }
            }
        }
        return (height, glyphs)
    }

    private static let large: Drawn = font(
        height: 7,
        """
        A     B     C     D     E     F     G     H     I   J     K     L     M
        .###. ####. .###. ####. ##### ##### .###. #...# ### ....# #...# #.... #...#
        #...# #...# #...# #...# #.... #.... #...# #...# .#. ....# #..#. #.... ##.##
        #...# #...# #.... #...# #.... #.... #.... #...# .#. ....# #.#.. #.... #.#.#
        ##### ####. #.... #...# ####. ####. #.### ##### .#. ....# ##... #.... #.#.#
        #...# #...# #.... #...# #.... #.... #...# #...# .#. ....# #.#.. #.... #...#
        #...# #...# #...# #...# #.... #.... #...# #...# .#. #...# #..#. #.... #...#
        #...# ####. .###. ####. ##### #.... .###. #...# ### .###. #...# ##### #...#
        N     O     P     Q     R     S     T     U     V     W     X     Y     Z
        #...# .###. ####. .###. ####. .#### ##### #...# #...# #...# #...# #...# #####
        ##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....#
        ##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#.
        #.#.# #...# ####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#..
        #..## #...# #.... #.#.# #.#.. ....# ..#.. #...# #...# #.#.# .#.#. ..#.. .#...
        #..## #...# #.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...# ..#.. #....
        #...# .###. #.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...# ..#.. #####
        0     1   2     3     4     5     6     7     8     9     -     %     : . _
        .###. .#. .###. .###. ...#. ##### .###. ##### .###. .###. ..... ##... . . .....
        #...# ##. #...# #...# ..##. #.... #.... ....# #...# #...# ..... ##..# # . .....
        #..## .#. ....# ....# .#.#. ####. #.... ...#. #...# #...# ..... ...#. # . .....
        #.#.# .#. ..##. ..##. #..#. ....# ####. ..#.. .###. .#### ##### ..#.. . . .....
        ##..# .#. .#... ....# ##### ....# #...# ..#.. #...# ....# ..... .#... # . .....
        #...# .#. #.... #...# ...#. #...# #...# ..#.. #...# ....# ..... #..## # # .....
        .###. ### ##### .###. ...#. .###. .###. ..#.. .###. .###. ..... ...## . # #####
        """)

    private static let small: Drawn = font(
        height: 5,
        """
        A   B   C   D   E   F   G   H   I   J   K   L   M
        .#. ##. .## ##. ### ### .## #.# ### ..# #.# #.. #...#
        #.# #.# #.. #.# #.. #.. #.. #.# .#. ..# #.# #.. ##.##
        ### ##. #.. #.# ##. ##. #.# ### .#. ..# ##. #.. #.#.#
        #.# #.# #.. #.# #.. #.. #.# #.# .#. #.# #.# #.. #...#
        #.# ##. .## ##. ### #.. .## #.# ### .#. #.# ### #...#
        N    O   P   Q   R   S   T   U   V   W     X   Y   Z
        #..# .#. ##. .#. ##. .## ### #.# #.# #...# #.# #.# ###
        ##.# #.# #.# #.# #.# #.. .#. #.# #.# #...# #.# #.# ..#
        #.## #.# ##. #.# ##. .#. .#. #.# #.# #.#.# .#. .#. .#.
        #..# #.# #.. ### #.# ..# .#. #.# #.# ##.## #.# .#. #..
        #..# .#. #.. .## #.# ##. .#. ### .#. #...# #.# .#. ###
        0   1   2   3   4   5   6   7   8   9   -   %   : . _
        ### .#. ##. ##. #.# ### .## ### ### ### ... #.# . . ...
        #.# ##. ..# ..# #.# #.. #.. ..# #.# #.# ... ..# # . ...
        #.# .#. .#. .#. ### ##. ### .#. ### ### ### .#. . . ...
        #.# .#. #.. ..# ..# ..# #.# .#. #.# ..# ... #.. # . ...
        ### ### ### ##. ..# ##. ### .#. ### ##. ... #.# . # ###
        """)
}
