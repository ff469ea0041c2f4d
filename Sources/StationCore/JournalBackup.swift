/// What the journal says of backups.
extension JournalEntry {
    package static func backupMade(_ manifest: BackupManifest, path: String, callerUserID: UInt32) -> JournalEntry {
        JournalEntry(
            .backupMade, .notice,
            "Backup made: \(path), \(Quantity.counted(manifest.members.count { $0.kind == .file }, "file")), "
                + "\(Quantity.bytes(manifest.byteCount)) (by uid \(callerUserID))",
            [.callerUserID: String(callerUserID)])
    }

    package static func stationRestored(_ commit: RestoreCommit) -> JournalEntry {
        let kept = commit.exchanges.map(\.kept).joined(separator: " and ")
        return JournalEntry(
            .stationRestored, .warning,
            "Station restored from a backup of \(commit.hostName): all slots are disarmed; what was here before is kept in "
                + "\(kept) (by uid \(commit.callerUserID))",
            [.callerUserID: String(commit.callerUserID), .remedy: "stationctl status; stationctl arm SLOT"])
    }
}
