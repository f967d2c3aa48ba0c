//! The same containers on a kernel as of 2018: every system call since Linux 5.1 answers ENOSYS.
//!
//! A filter put on before this program is executed again as shim or exec; it holds for all they
//! start, the container included.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Case;
use crate::lab::{Lab, process};

pub(crate) const CASES: &[Case] = &[
    ("old_kernel::new_calls_are_missing_there", new_calls_are_missing_there),
    ("old_kernel::start_and_exec_work", start_and_exec_work),
    ("old_kernel::terminals_work", terminals_work),
    ("old_kernel::pausing_and_cleaning_up_work", pausing_and_cleaning_up_work),
];

const ROLE: &[&str] = &["__old-kernel"];

/// The first number of the table all architectures share; Linux 4.18 has none of them.
const FIRST_MISSING: u32 = 424;

/// Puts the filter on and becomes this program in another role.
pub(crate) fn become_old(arguments: &[String]) {
    sys::hide_calls_from(FIRST_MISSING);
    let error = Command::new(std::env::current_exe().unwrap()).args(arguments).exec();
    panic!("{error}");
}

fn new_calls_are_missing_there(lab: &Lab) {
    let mut config = lab.config(&["grep", "^Seccomp_filters:", "/proc/self/status"]);
    config.seccomp = skep_runtime::kernel::Seccomp::Unconfined;
    let outcome = lab.start_by(&config, ROLE, "").finish();
    // One filter although the container has none: the emulation's.
    assert_eq!(outcome.text(), "Seccomp_filters:\t1");
    assert!(sys::is_missing_after_hiding(FIRST_MISSING));
}

const STATUS: &str = "grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp|Seccomp_filters):' /proc/self/status; \
    ls /proc/$$/fd; echo x 2>/dev/null > /proc/sys/kernel/hostname || echo refused; \
    cat /proc/kcore | wc -c; grep -c ' /proc ' /proc/mounts; hostname; id -G";

const EXPECTED: &str = "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n\
    Seccomp_filters:\t2\n0\n1\n2\nrefused\n0\n1\nbox\n0";

fn start_and_exec_work(lab: &Lab) {
    let config = lab.config(&["sh", "-c", STATUS]);
    assert_eq!(lab.start_by(&config, ROLE, "").finish().text(), EXPECTED);
    let mut sleeping = lab.config(&["sleep", "600"]);
    let data = lab.path("old-data");
    std::fs::create_dir_all(&data).unwrap();
    sleeping.mounts.push(skep_runtime::kernel::Mount {
        target: "/var/run/data".to_owned(),
        read_only: true,
        kind: skep_runtime::kernel::MountKind::Bind {
            source: data,
            propagation: Default::default(),
            recursive: true,
            nosuid: false,
            noexec: false,
        },
    });
    sleeping.rootfs.read_only = true;
    let running = lab.start_by(&sleeping, ROLE, "").up();
    assert_eq!(running.exec_script(STATUS).text(), EXPECTED);
    assert_eq!(running.exec_script("touch /x || touch /run/data/x || echo refused").text(), "refused");
    let missing = running.exec(process(&["nosuch"]));
    assert_eq!(missing.error_code, 127);
    running.stop();
}

fn terminals_work(lab: &Lab) {
    let mut config = lab.config(&["sh", "-c", "tty; test -c /dev/console && echo console"]);
    config.process.terminal = true;
    let outcome = lab.start_by(&config, ROLE, "").finish();
    assert_eq!(outcome.text(), "/dev/pts/0\nconsole");
    let running = lab.start_by(&lab.config(&["sleep", "600"]), ROLE, "").up();
    let mut process = process(&["tty"]);
    process.terminal = true;
    assert_eq!(running.exec(process).text(), "/dev/pts/0");
    running.stop();
}

fn pausing_and_cleaning_up_work(lab: &Lab) {
    let before = lab.leaks();
    let running = lab.start_by(&lab.config(&["sleep", "600"]), ROLE, "").up();
    let paths = skep_runtime::kernel::cgroup::Paths::find(&running.config.cgroup).unwrap();
    paths.freeze().unwrap();
    paths.thaw().unwrap();
    assert_eq!(running.stop().code, Some(137));
    assert_eq!(lab.leaks(), before);
}

mod sys {
    //! The filter, by hand: it must not depend on what it tests.
    #![allow(unsafe_code)]

    /// From here on, system calls numbered `first` and above answer ENOSYS, in this process and
    /// in all it executes.
    pub(super) fn hide_calls_from(first: u32) {
        let op = |code: u32, jump_true, jump_false, operand| libc::sock_filter {
            code: code as u16,
            jt: jump_true,
            jf: jump_false,
            k: operand,
        };
        let program = [
            op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            op(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, first),
            op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
            op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        // SAFETY: the program and its description outlive the call, which only reads them.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }

    /// Whether a thread that hid them finds calls missing; other threads keep them.
    pub(super) fn is_missing_after_hiding(first: u32) -> bool {
        let thread = std::thread::spawn(move || {
            hide_calls_from(first);
            // SAFETY: an invalid descriptor and no memory: fails in either case.
            let result = unsafe { libc::syscall(libc::SYS_pidfd_open, -1, 0) };
            result == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS)
        });
        thread.join().unwrap()
    }
}
