// Errors as values: every fallible call in ckptfs returns a Result.
#pragma once

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace ckptfs {

/// What the caller can do about an error, rather than where it came from. The numbers are those of enum ckptfs_code
/// (ckptfs.h), and stay.
enum class ErrorCode {
    invalid_argument,  ///< the user asked for something impossible: correct the call
    not_a_checkpoint,  ///< nothing here that ckptfs knows: point it elsewhere
    incomplete,        ///< files are missing or cut short: wait for the save, or take another tag
    damaged,           ///< bytes contradict themselves (zip, pickle, CRC): restore the file
    inconsistent,      ///< files are whole but belong to different saves
    unsupported,       ///< a layout on the closed list of docs/support.md
    stale,             ///< the source changed under an open file: open it again
    not_found,         ///< no such file
    io,                ///< the operating system said no; system_errno() tells what
    mount,             ///< the mount point cannot be used
    verification,      ///< `ckptfs verify` found a difference
    internal,          ///< a bug in ckptfs
};

/// A clear sentence for people, a code for programs.
class Error {
 public:
    Error(ErrorCode code, std::string message, int system_errno = 0)
        : code_(code), system_errno_(system_errno), message_(std::move(message)) {}

    [[nodiscard]] ErrorCode code() const { return code_; }
    [[nodiscard]] const std::string& message() const { return message_; }
    /// The errno behind an `io` error, 0 elsewhere.
    [[nodiscard]] int system_errno() const { return system_errno_; }

    /// The same error with "context: " before its message.
    [[nodiscard]] Error within(std::string_view context) const {
        return {code_, std::string(context) + ": " + message_, system_errno_};
    }

 private:
    ErrorCode code_;
    int system_errno_;
    std::string message_;
};

/// The errno that a file system call answers with: ENOENT for not_found, ESTALE for stale, else EIO or the system's
/// own. EAGAIN and others that a reader or the kernel would take for something else become EIO.
[[nodiscard]] int errno_of(const Error& error);

/// Either a value or an Error. Reading the value of an error is a bug of the caller and terminates.
template <class T>
class [[nodiscard]] Result {
 public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] bool ok() const { return state_.index() == 0; }
    [[nodiscard]] explicit operator bool() const { return ok(); }

    T& value() & { return std::get<0>(state_); }
    const T& value() const& { return std::get<0>(state_); }
    // By value, so that `for (auto& x : *call())` does not walk what is gone.
    T value() && { return std::get<0>(std::move(state_)); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T operator*() && { return std::get<0>(std::move(state_)); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    [[nodiscard]] const Error& error() const { return std::get<1>(state_); }

 private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

    [[nodiscard]] bool ok() const { return !error_; }
    [[nodiscard]] explicit operator bool() const { return ok(); }
    [[nodiscard]] const Error& error() const { return *error_; }

 private:
    std::optional<Error> error_;
};

}  // namespace ckptfs

#define CKPTFS_CONCAT_INNER(a, b) a##b
#define CKPTFS_CONCAT(a, b) CKPTFS_CONCAT_INNER(a, b)

/// CKPTFS_TRY(call): returns the call's error from the enclosing function, if there is one.
#define CKPTFS_TRY(expression)                       \
    do {                                             \
        auto ckptfs_result = (expression);           \
        if (!ckptfs_result.ok()) {                   \
            return std::move(ckptfs_result).error(); \
        }                                            \
    } while (false)

/// CKPTFS_ASSIGN(auto x, call): the value, or the call's error returned from the enclosing function.
#define CKPTFS_ASSIGN(declaration, expression) \
    CKPTFS_ASSIGN_INNER(CKPTFS_CONCAT(ckptfs_result_, __LINE__), declaration, expression)
// NOLINTBEGIN(bugprone-macro-parentheses): a declaration cannot stand in parentheses
#define CKPTFS_ASSIGN_INNER(name, declaration, expression) \
    auto name = (expression);                              \
    if (!name.ok()) {                                      \
        return std::move(name).error();                    \
    }                                                      \
    declaration = std::move(name).value()
// NOLINTEND(bugprone-macro-parentheses)
