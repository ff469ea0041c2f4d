import StationCore

/// The calls about profiles.
extension ControlMethods {
    func profiles(_ method: Control.Method, _ call: ControlCall, caller: UInt32) async throws -> [UInt8] {
        let known = ControlInterface.parameterNames(of: method)
        switch method {
        case .listProfiles:
            let filter = try call.parameters(Control.ProfileFilter.self, known: known)
            return encoder.reply(try await control.profiles(filter))
        case .getProfile:
            let query = try call.parameters(Control.ProfileVersionQuery.self, known: known)
            return encoder.reply(try await control.profile(query))
        case .importProfile:
            let parameters = try call.parameters(Control.ImportProfile.self, known: known)
            return encoder.reply(
                try await control.importProfile(parameters, overlay: call.descriptors.first, caller: caller))
        case .deleteProfile:
            let query = try call.parameters(Control.ProfileQuery.self, known: known)
            try await control.deleteProfile(query.profileID, caller: caller)
            return encoder.reply(Control.Empty())
        default:
            let query = try call.parameters(Control.ProfileQuery.self, known: known)
            return encoder.reply(try await control.profileVersions(query.profileID))
        }
    }
}
