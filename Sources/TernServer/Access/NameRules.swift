// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

internal import Foundation
internal import TernMessages

/// What a new name may be, beyond what ``Name`` takes from the wire: nothing that cannot be seen, and nothing that makes one
/// name look like another by steering how it is shown. Names that a store has from before the rules stay as they are.
enum NameRules {
    /// The name in the form in which it is registered: canonically composed (Unicode Standard Annex 15, form C), so that two
    /// spellings of the same letters are one name. Case counts, and so do letters of different scripts that look alike.
    ///
    /// - Throws: ``ErrorCode/invalidName``, with the reason.
    static func canonical(_ name: Name) throws(Failure) -> Name {
        let text = name.text.precomposedStringWithCanonicalMapping
        if let reason = self.objection(to: text) { throw Failure(.invalidName, "a name \(reason)") }
        do throws(WireError) {
            return try Name(text)
        } catch {
            throw Failure(error)
        }
    }

    /// What is wrong with it, behind "a name".
    private static func objection(to text: String) -> String? {
        let scalars = text.unicodeScalars
        for scalar in scalars {
            guard self.isVisible(scalar) else {
                let number = String(scalar.value, radix: 16, uppercase: true)
                let digits = String(repeating: "0", count: max(0, 4 - number.utf8.count)) + number
                return "has no invisible, unassigned or directional characters, such as its U+\(digits)"
            }
        }
        if scalars.first == " " || scalars.last == " " { return "neither begins nor ends with a space" }
        if let first = scalars.first, self.isMark(first) { return "does not begin with a combining mark" }
        return nil
    }

    private static func isMark(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .spacingMark: true
        default: false
        }
    }

    private static func isVisible(_ scalar: Unicode.Scalar) -> Bool {
        // Braille without dots is a symbol, and blank.
        guard !scalar.properties.isDefaultIgnorableCodePoint, scalar != "\u{2800}" else { return false }
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: return false
        case .spaceSeparator: return scalar == " "
        default: return true
        }
    }
}
