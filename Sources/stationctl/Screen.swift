import Glibc
import StationCore
import StationLinux

/// The whole terminal as a picture, and its keys. What was on it before comes back when it is closed.
final class Screen {
    enum Key: Equatable { case quit, up, down, pageUp, pageDown, top, bottom, redraw }

    private let console: Console
    private var before: termios?

    init(_ console: Console) { self.console = console }

    deinit { close() }

    /// Takes the terminal over: another screen, no cursor, no line ends that wrap, keys without echo.
    func open() {
        var settings = termios()
        if tcgetattr(0, &settings) == 0 {
            before = settings
            settings.c_lflag &= ~tcflag_t(ICANON | ECHO)
            tcsetattr(0, TCSANOW, &settings)
        }
        isOpen = true
        console.data("\u{1B}[?1049h\u{1B}[?25l\u{1B}[?7l\u{1B}[2J")
    }

    private(set) var isOpen = false

    /// Gives the terminal back as it was.
    func close() {
        guard isOpen else { return }
        isOpen = false
        console.data("\u{1B}[?7h\u{1B}[?25h\u{1B}[?1049l")
        if var before { tcsetattr(0, TCSANOW, &before) }
    }

    /// Shows lines that fill the screen, in one write: each over what was there and nothing erased before, so that nothing
    /// flickers.
    func draw(_ lines: [String]) {
        console.data("\u{1B}[H" + lines.map { console.shown($0) }.joined(separator: "\r\n"))
    }

    /// Whether keys can be read at all.
    var hasKeys: Bool { before != nil }

    /// The keys that were pressed. To be called when descriptor 0 is readable.
    /// - Returns: nil when there is no keyboard any more.
    func keys() -> [Key]? {
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = bytes.withUnsafeMutableBytes { read(0, $0.baseAddress, $0.count) }
        guard count > 0 else { return count < 0 && errno == EINTR ? [] : nil }
        return Self.keys(String(decoding: bytes[..<count], as: UTF8.self))
    }

    private static let sequences: [(String, Key)] = [
        ("\u{1B}[A", .up), ("\u{1B}OA", .up), ("\u{1B}[B", .down), ("\u{1B}OB", .down), ("\u{1B}[5~", .pageUp),
        ("\u{1B}[6~", .pageDown), ("\u{1B}[H", .top), ("\u{1B}[F", .bottom), ("\u{1B}[1~", .top),
        ("\u{1B}[4~", .bottom),
        ("q", .quit), ("Q", .quit), ("k", .up), ("j", .down), (" ", .pageDown), ("b", .pageUp), ("g", .top),
        ("G", .bottom),
        ("\u{0C}", .redraw),
    ]

    private static func keys(_ text: String) -> [Key] {
        var rest = text[...]
        var keys: [Key] = []
        while !rest.isEmpty {
            if let (sequence, key) = sequences.first(where: { rest.hasPrefix($0.0) }) {
                keys.append(key)
                rest = rest.dropFirst(sequence.count)
            } else {
                rest = rest.dropFirst()
            }
        }
        return keys
    }
}
