import Digests
import StationCore
import StationLinux

/// Where an image goes: through its digest and its bmap into its file, as far as there is room.
final class ImageSink: PieceSink {
    private(set) var room: VaultRoom
    private let total: UInt64?
    private let hasher: SHA256Hasher?
    private var check: BmapCheck?
    private var file: SparseFile

    /// - Parameter total: how long it will be, where that is known.
    init(_ file: UnsealedFile, room: VaultRoom, total: UInt64?, _ hasher: SHA256Hasher?, _ check: BmapCheck?) {
        self.file = SparseFile(file.descriptor)
        self.room = room
        self.total = total
        self.hasher = hasher
        self.check = check
    }

    /// - Throws: `image_too_large`, `bmap_mismatch`, `storage_full`, `vault_unusable`.
    func take(_ piece: UnsafeRawBufferPointer, isLast: Bool) throws(StationError) {
        try room.checkLength(file.byteCount + UInt64(piece.count), isWhole: false)
        hasher?.update(piece)
        try check?.update(piece)
        let stored = file.storedByteCount
        do {
            try file.append(piece)
            if isLast { try file.finish() }
        } catch { throw room.failure(error, written: file.byteCount, total: total) }
        try room.take(file.storedByteCount - stored)
        if isLast { try check?.finish() }
    }
}
