//! A memory barrier for all threads of the process, made by one of them: `membarrier(2)`, Linux 4.14.

/// Declares that the process is going to use it; false if the kernel does not offer it.
pub fn register() -> bool {
    call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0
}

/// When it returns, every thread of the process that was running has passed through a full memory barrier. Only after
/// [`register`] has returned true.
pub fn all_threads() {
    let result = call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    assert_eq!(result, 0, "membarrier, which was registered");
}

fn call(command: libc::c_int) -> libc::c_long {
    let (flags, cpu): (libc::c_uint, libc::c_int) = (0, 0);
    // SAFETY: the system call touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, flags, cpu) }
}
