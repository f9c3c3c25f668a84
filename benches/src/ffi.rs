//! The one place that answers an instruction in the CPU's stead.
#![allow(unsafe_code)]

use std::arch::x86_64::__cpuid_count;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Instructions that were answered.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// From here on, a breakpoint (`int3`) in this process is taken for a `cpuid` instruction, and answered as this CPU
/// answers it, without what is above AVX2.
pub(crate) fn answer_breakpoints_as_avx2() -> io::Result<()> {
    // SAFETY: all zeros is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = answer as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
    // SAFETY: `answer` has the signature that SA_SIGINFO asks for, and does nothing that a signal handler may not.
    match unsafe { libc::sigaction(libc::SIGTRAP, &action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many were answered so far.
pub(crate) fn answered() -> u64 {
    ANSWERED.load(Ordering::Relaxed)
}

extern "C" fn answer(_signal: libc::c_int, _about: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO the context of the interrupted thread, which is this one's
    // alone until the handler returns.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = |register: libc::c_int| register as usize;
    let (leaf, part) = (registers[at(libc::REG_RAX)] as u32, registers[at(libc::REG_RCX)] as u32);
    let found = __cpuid_count(leaf, part);
    let [hidden_a, hidden_b, hidden_c, hidden_d] = hidden(leaf, part);
    registers[at(libc::REG_RAX)] = i64::from(found.eax & !hidden_a);
    registers[at(libc::REG_RBX)] = i64::from(found.ebx & !hidden_b);
    registers[at(libc::REG_RCX)] = i64::from(found.ecx & !hidden_c);
    registers[at(libc::REG_RDX)] = i64::from(found.edx & !hidden_d);
    ANSWERED.fetch_add(1, Ordering::Relaxed);
}

/// The bits of `eax`, `ebx`, `ecx` and `edx` that stand for AVX-512, VNNI in any width, and AMX (Intel's manual,
/// volume 2, CPUID).
fn hidden(leaf: u32, part: u32) -> [u32; 4] {
    let bits = |places: &[u32]| places.iter().fold(0, |bits, place| bits | 1 << place);
    match (leaf, part) {
        // AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ; 4VNNIW, 4FMAPS,
        // VP2INTERSECT, AMX BF16, FP16, AMX TILE, AMX INT8.
        (7, 0) => {
            [0, bits(&[16, 17, 21, 26, 27, 28, 30, 31]), bits(&[1, 6, 11, 12, 14]), bits(&[2, 3, 8, 22, 23, 24, 25])]
        }
        // AVX-VNNI, AVX-512 BF16, AMX FP16, AVX-IFMA; AVX-VNNI INT8, AVX-NE-CONVERT, AVX-VNNI INT16.
        (7, 1) => [bits(&[4, 5, 21, 23]), 0, 0, bits(&[4, 5, 10])],
        _ => [0; 4],
    }
}
