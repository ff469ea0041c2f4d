import CCurl
import Glibc
import StationCore
import StationLinux

/// One request to one server, by libcurl. Blocks.
struct Transfer {
    /// What takes the body.
    protocol Sink: AnyObject {
        /// The header has come: says whether the body is what was asked for.
        /// - Parameters:
        ///   - start: where the body begins in the file; 0 unless the server sends a part of it.
        ///   - byteCount: how long the file is as a whole, where the server says.
        /// - Throws: what ends the transfer.
        func begin(at start: UInt64, byteCount: UInt64?) throws(StationError)
        func take(_ bytes: UnsafeRawBufferPointer) throws(StationError)
    }

    /// How a transfer ended that did not bring the file.
    enum Failure: Error {
        /// Another attempt may bring it; one from the beginning, where what came so far need not belong to it.
        case temporary(String, fromBeginning: Bool)
        /// This server will not bring it.
        case permanent(StationError)
        /// Nobody shall try again.
        case final(StationError)
    }

    static let redirectLimit = 5
    static let connectSeconds = 20

    let source: BuilderSource
    /// The transfer ends as soon as there is something to read from it, or its other end is gone.
    let stop: Descriptor?

    /// Fetches a file from an offset on.
    /// - Throws: `Failure`.
    func run(_ url: String, from offset: UInt64, into sink: any Sink) throws(Failure) {
        guard Self.isGlobalReady, let curl = curl_easy_init() else {
            throw .final(StationError("internal_error", "libcurl does not begin"))
        }
        defer { curl_easy_cleanup(curl) }
        let state = TransferState(curl, offset: offset, sink: sink, stop: stop)
        configure(curl, url, offset)
        let context = Unmanaged.passUnretained(state).toOpaque()
        _ = station_curl_set_writer(
            curl,
            { bytes, size, count, context in
                guard let bytes, let context else { return 0 }
                let state = Unmanaged<TransferState>.fromOpaque(context).takeUnretainedValue()
                return state.take(UnsafeRawBufferPointer(start: bytes, count: size * count)) ? size * count : 0
            }, context)
        _ = station_curl_set_watcher(
            curl,
            { context, _, _, _, _ in
                guard let context else { return 1 }
                return Unmanaged<TransferState>.fromOpaque(context).takeUnretainedValue().isStopped ? 1 : 0
            }, context)
        let code = curl_easy_perform(curl)
        try state.check(code, url)
    }

    /// Once in a process, before any thread transfers.
    private static let isGlobalReady = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

    private func configure(_ curl: UnsafeMutableRawPointer, _ url: String, _ offset: UInt64) {
        let text: (CURLoption, String) -> Void = { _ = station_curl_set_text(curl, $0, $1) }
        let number: (CURLoption, Int) -> Void = { _ = station_curl_set_number(curl, $0, $1) }
        text(CURLOPT_URL, url)
        text(CURLOPT_USERAGENT, "flashing-station/\(StationVersion.text)")
        // Neither a mirror nor what it redirects to leads to a file of this host, or to another protocol.
        text(CURLOPT_PROTOCOLS_STR, "http,https")
        text(CURLOPT_REDIR_PROTOCOLS_STR, url.hasPrefix("https:") ? "https" : "http,https")
        number(CURLOPT_FOLLOWLOCATION, 1)
        number(CURLOPT_MAXREDIRS, Self.redirectLimit)
        number(CURLOPT_FAILONERROR, 1)
        number(CURLOPT_NOSIGNAL, 1)
        number(CURLOPT_CONNECTTIMEOUT, Self.connectSeconds)
        number(CURLOPT_LOW_SPEED_LIMIT, 1)
        number(CURLOPT_LOW_SPEED_TIME, max(1, Int(source.stallSeconds)))
        if let proxy = source.proxy { text(CURLOPT_PROXY, proxy) }
        if let file = source.certificateAuthority { text(CURLOPT_CAINFO, file) }
        if offset > 0 { _ = station_curl_set_large(curl, CURLOPT_RESUME_FROM_LARGE, curl_off_t(offset)) }
    }
}

/// What libcurl's callbacks share.
private final class TransferState {
    private let curl: UnsafeMutableRawPointer
    private let offset: UInt64
    private let sink: any Transfer.Sink
    private let stop: Descriptor?
    private var hasBegun = false
    private var failure: Transfer.Failure?

    init(_ curl: UnsafeMutableRawPointer, offset: UInt64, sink: any Transfer.Sink, stop: Descriptor?) {
        self.curl = curl
        self.offset = offset
        self.sink = sink
        self.stop = stop
    }

    var isStopped: Bool {
        stop?.hasInput ?? false
    }

    /// - Returns: false to end the transfer.
    func take(_ bytes: UnsafeRawBufferPointer) -> Bool {
        do {
            if !hasBegun {
                hasBegun = true
                let (start, byteCount) = try extent()
                try sink.begin(at: start, byteCount: byteCount)
            }
            try sink.take(bytes)
            return true
        } catch let error as Transfer.Failure {
            failure = error
        } catch let error as StationError {
            failure = .final(error)
        } catch { failure = .final(StationError("internal_error", "\(error)")) }
        return false
    }

    /// Which part of which whole the server sends.
    private func extent() throws(Transfer.Failure) -> (UInt64, UInt64?) {
        let length = station_curl_content_length(curl)
        guard station_curl_response(curl) == 206 else { return (0, length < 0 ? nil : UInt64(length)) }
        // A server that sends another part than it was asked for would put a file together that never was one.
        guard let text = header("Content-Range"), let range = ContentRange(text), range.first == offset else {
            throw .temporary("it sent another part of the file than it was asked for", fromBeginning: true)
        }
        if length >= 0, UInt64(length) != range.last - range.first + 1 {
            throw .temporary("it sent a part of another length than it said", fromBeginning: true)
        }
        return (offset, range.total)
    }

    private func header(_ name: String) -> String? {
        var header: UnsafeMutablePointer<curl_header>?
        guard curl_easy_header(curl, name, 0, UInt32(CURLH_HEADER), -1, &header) == CURLHE_OK, let header else {
            return nil
        }
        return String(cString: header.pointee.value)
    }

    func check(_ code: CURLcode, _ url: String) throws(Transfer.Failure) {
        if let failure { throw failure }
        if code == CURLE_OK {
            guard !hasBegun else { return }
            // A body without a byte.
            do {
                try sink.begin(at: offset, byteCount: offset)
            } catch { throw .final(error) }
            return
        }
        let response = station_curl_response(curl)
        let why = String(cString: curl_easy_strerror(code))
        switch code {
        case CURLE_ABORTED_BY_CALLBACK:
            throw .final(StationError("import_stopped", "the download was stopped"))
        case CURLE_HTTP_RETURNED_ERROR where response == 416:
            throw .temporary("it does not have the part of the file that is missing", fromBeginning: true)
        case CURLE_HTTP_RETURNED_ERROR where response >= 500 || response == 429 || response == 408:
            throw .temporary("it answered \(response)", fromBeginning: false)
        case CURLE_HTTP_RETURNED_ERROR:
            throw .permanent(
                StationError(
                    response == 404 || response == 410 ? "download_missing" : "download_refused",
                    "\(url.printable(limit: 300)): the server answered \(response)"))
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_CIPHER:
            throw .permanent(
                StationError(
                    "tls_failed", "\(url.printable(limit: 300)): the server's certificate is not trusted (\(why))",
                    remedy: "name its authority with CertificateAuthority= under [ImageBuilder], if it is yours"))
        case CURLE_TOO_MANY_REDIRECTS, CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT:
            throw .permanent(StationError("download_refused", "\(url.printable(limit: 300)): \(why)"))
        // A server that knows no parts where one was asked for: libcurl says so before it takes a byte.
        case CURLE_RANGE_ERROR: throw .temporary("it sends no parts of files", fromBeginning: true)
        default: throw .temporary(why, fromBeginning: false)
        }
    }
}

/// `Content-Range: bytes 100-199/1000`.
struct ContentRange: Equatable {
    var first: UInt64
    var last: UInt64
    /// Nil where the server does not know.
    var total: UInt64?

    /// Nil for what is not of that form.
    init?(_ text: String) {
        let words = text.trimmed.split(separator: " ")
        guard words.count == 2, words[0].lowercased() == "bytes" else { return nil }
        let parts = words[1].split(separator: "/", omittingEmptySubsequences: false)
        let ends = parts.first?.split(separator: "-", omittingEmptySubsequences: false) ?? []
        guard parts.count == 2, ends.count == 2, let first = UInt64(ends[0]), let last = UInt64(ends[1]),
            first <= last
        else { return nil }
        total = UInt64(parts[1])
        guard total != nil || parts[1] == "*", total.map({ last < $0 }) ?? true else { return nil }
        (self.first, self.last) = (first, last)
    }
}
