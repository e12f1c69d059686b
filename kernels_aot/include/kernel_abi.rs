//! Kernel ABI, version 1: docs/kernel-abi.md in Rust, for kernels that need no `unsafe` of their own.
//!
//!     #![no_std]
//!     use kernel_abi::{Call, Code};
//!     use kernel_params::Params;
//!
//!     kernel_abi::stateless! { scale_forward => scale }
//!
//!     fn scale(call: Call<Params>) -> Result<(), Code> {
//!         let n = call.params.n;
//!         let x = call.input_a.slice::<f32>(n)?;
//!         let y = call.output.slice::<f32>(n)?;
//!         ...
//!
//! A region is checked when it becomes a slice, and can become one only once, so nothing that is written is shared. The
//! checks are those of kernel_abi.h. The crate `kernel_params` is made from pack.toml.

#![no_std]
#![feature(core_intrinsics)]

use core::cell::Cell;
use core::mem::size_of;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};

pub const ABI_VERSION: u32 = 1;

/// Why a kernel does not do what was asked for; an entry point returns 0 for `Ok`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    InvalidInput = 1,
    InvalidOutput = 2,
    InvalidParams = 3,
    OutOfMemory = 4,
    NotImplemented = 5,
    InternalError = 6,
}

/// Offset in linear memory and size in bytes; both 0 when a call has no such region.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Region {
    offset: u32,
    size: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Descriptor {
    input_a: Region,
    input_b: Region,
    output: Region,
    scratch: Region,
    params: Region,
}

impl Region {
    /// Whether it holds exactly `size` bytes, and its elements of `align` bytes (a power of two) are aligned. The kernel's
    /// own stack lies at 0, so no region does.
    fn is(&self, size: u32, align: u32) -> bool {
        self.size == size
            && size != 0
            && self.offset != 0
            && (self.offset | size) & (align - 1) == 0
            && self.offset <= u32::MAX - size
    }

    /// Whether two regions have a byte in common. Neither may reach beyond the address space.
    fn overlaps(&self, other: &Region) -> bool {
        self.size != 0
            && other.size != 0
            && self.offset < other.offset.wrapping_add(other.size)
            && other.offset < self.offset.wrapping_add(self.size)
    }

    /// Whether it is one tensor of `count` elements.
    fn holds<T: Element>(&self, count: u32) -> bool {
        self.is(bytes::<T>(count).unwrap_or(0), size_of::<T>() as u32)
    }

    /// Where the second tensor begins, if it is two of `counts` elements, the second at the next multiple of 16.
    fn holds_two<T: Element>(&self, counts: [u32; 2]) -> Option<u32> {
        let at = bytes::<T>(counts[0])?.checked_add(15)? & !15;
        let size = at.checked_add(bytes::<T>(counts[1])?)?;
        self.is(size, size_of::<T>() as u32).then(|| self.offset + at)
    }
}

fn bytes<T: Element>(count: u32) -> Option<u32> {
    count.checked_mul(size_of::<T>() as u32)
}

mod sealed {
    pub trait Sealed: Copy {}
}

/// A tensor's element: a number that any bits are a value of.
pub trait Element: sealed::Sealed {}

macro_rules! elements {
    ($($kind:ty)*) => {
        $(impl sealed::Sealed for $kind {} impl Element for $kind {})*
    };
}

elements! { f32 i8 u8 i16 u16 i32 u32 }

/// A call whose params block was checked. Each region is a field of its own, to be taken once.
pub struct Call<'a, P> {
    /// Every symbol's value, then every parameter.
    pub params: &'a P,
    pub input_a: InputA<'a>,
    pub input_b: InputB<'a>,
    pub output: Output<'a>,
    pub scratch: Scratch<'a>,
}

pub struct InputA<'a>(&'a Descriptor);
pub struct InputB<'a>(&'a Descriptor);
pub struct Output<'a>(&'a Descriptor);
pub struct Scratch<'a>(&'a Descriptor);

impl<'a> InputA<'a> {
    /// All of it, which must be `count` elements.
    pub fn slice<T: Element>(self, count: u32) -> Result<&'a [T], Code> {
        input(&self.0.input_a, count)
    }

    /// Its two tensors, of as many elements as `counts` says.
    pub fn two<T: Element>(self, counts: [u32; 2]) -> Result<[&'a [T]; 2], Code> {
        two_inputs(&self.0.input_a, counts)
    }
}

impl<'a> InputB<'a> {
    /// All of it, which must be `count` elements.
    pub fn slice<T: Element>(self, count: u32) -> Result<&'a [T], Code> {
        input(&self.0.input_b, count)
    }

    /// Its two tensors, of as many elements as `counts` says.
    pub fn two<T: Element>(self, counts: [u32; 2]) -> Result<[&'a [T]; 2], Code> {
        two_inputs(&self.0.input_b, counts)
    }
}

impl<'a> Output<'a> {
    /// All of it, which must be `count` elements and overlap nothing else.
    pub fn slice<T: Element>(self, count: u32) -> Result<&'a mut [T], Code> {
        let output = &self.0.output;
        if !output.holds::<T>(count) || !self.is_apart(false) {
            return Err(Code::InvalidOutput);
        }
        // SAFETY: the region is aligned, and nothing else that the kernel gets has a byte in it.
        Ok(unsafe { slice::from_raw_parts_mut(output.offset as *mut T, count as usize) })
    }

    /// Its two tensors, of as many elements as `counts` says.
    pub fn two<T: Element>(self, counts: [u32; 2]) -> Result<[&'a mut [T]; 2], Code> {
        let output = &self.0.output;
        let second = output.holds_two::<T>(counts).filter(|_| self.is_apart(false)).ok_or(Code::InvalidOutput)?;
        // SAFETY: as in `slice`; the second begins behind the first.
        Ok(unsafe {
            [
                slice::from_raw_parts_mut(output.offset as *mut T, counts[0] as usize),
                slice::from_raw_parts_mut(second as *mut T, counts[1] as usize),
            ]
        })
    }

    /// Input A and the output, `count` elements each, for a kernel that works in place: they may be the very same.
    pub fn in_place<T: Element>(self, input_a: InputA<'a>, count: u32) -> Result<[&'a [Cell<T>]; 2], Code> {
        let read = input_a.slice::<T>(count)?;
        let output = &self.0.output;
        if !output.holds::<T>(count) || !self.is_apart(true) {
            return Err(Code::InvalidOutput);
        }
        // SAFETY: both are aligned; a cell may be written while another reference to it lives; nothing else that the
        // kernel gets has a byte in them.
        Ok([read.as_ptr() as u32, output.offset]
            .map(|offset| unsafe { slice::from_raw_parts(offset as *const Cell<T>, count as usize) }))
    }

    /// Whether it may be written while everything else is read.
    fn is_apart(&self, in_place: bool) -> bool {
        let Descriptor { input_a, input_b, output, scratch, params } = self.0;
        ((in_place && output == input_a) || !output.overlaps(input_a))
            && !output.overlaps(input_b)
            && !output.overlaps(scratch)
            && !output.overlaps(params)
    }
}

impl<'a> Scratch<'a> {
    /// The first `count` elements of it, which nothing else in the call uses.
    pub fn slice<T: Element>(self, count: u32) -> Result<&'a mut [T], Code> {
        let Descriptor { input_a, input_b, scratch, params, .. } = self.0;
        let enough = bytes::<T>(count).map_or(false, |least| scratch.size >= least);
        let apart = ![input_a, input_b, params].iter().any(|region| scratch.overlaps(region));
        if !enough || !apart || !scratch.is(scratch.size, size_of::<T>() as u32) {
            return Err(Code::OutOfMemory);
        }
        // SAFETY: the region is aligned and large enough. It is apart from what is read, and an output is from it.
        Ok(unsafe { slice::from_raw_parts_mut(scratch.offset as *mut T, count as usize) })
    }
}

fn input<'a, T: Element>(region: &Region, count: u32) -> Result<&'a [T], Code> {
    if !region.holds::<T>(count) {
        return Err(Code::InvalidInput);
    }
    // SAFETY: the region is aligned, and what the kernel may write is apart from it.
    Ok(unsafe { slice::from_raw_parts(region.offset as *const T, count as usize) })
}

fn two_inputs<'a, T: Element>(region: &Region, counts: [u32; 2]) -> Result<[&'a [T]; 2], Code> {
    let second = region.holds_two::<T>(counts).ok_or(Code::InvalidInput)?;
    // SAFETY: as in `input`.
    Ok(unsafe {
        [
            slice::from_raw_parts(region.offset as *const T, counts[0] as usize),
            slice::from_raw_parts(second as *const T, counts[1] as usize),
        ]
    })
}

/// Whether the kernel was initialised: all that a stateless one keeps between calls.
pub static INITIALISED: AtomicBool = AtomicBool::new(false);

/// An entry point: what `stateless!` exports. `P` is `kernel_params::Params`.
///
/// # Safety
///
/// `descriptor` is the offset of a descriptor that is apart from its regions, and `P` is words only.
pub unsafe fn enter<P>(descriptor: u32, kernel: fn(Call<P>) -> Result<(), Code>) -> i32 {
    if !INITIALISED.load(Ordering::Relaxed) {
        return Code::InternalError as i32;
    }
    let regions = *(descriptor as *const Descriptor);
    let params = match size_of::<P>() as u32 {
        0 => NonNull::dangling(), // neither a symbol nor a parameter
        size if regions.params.is(size, 4) => NonNull::new_unchecked(regions.params.offset as *mut P),
        _ => return Code::InvalidParams as i32,
    };
    let call = Call {
        params: params.as_ref(),
        input_a: InputA(&regions),
        input_b: InputB(&regions),
        output: Output(&regions),
        scratch: Scratch(&regions),
    };
    match kernel(call) {
        Ok(()) => 0,
        Err(code) => code as i32,
    }
}

/// What kernel_init does with the length in bytes of the parameters' defaults, one word each.
pub fn initialise(len: u32, param_count: u32) -> i32 {
    if len != 4 * param_count {
        return Code::InvalidParams as i32;
    }
    INITIALISED.store(true, Ordering::Relaxed);
    0
}

/// What kernel_info returns the offset of. Texts have a NUL at their end.
#[repr(C)]
pub struct Info {
    size: u32,
    abi_version: u32,
    name: [u8; 24],
    version: [u8; 24],
}

impl Info {
    pub const fn new(name: &str, version: &str) -> Info {
        Info { size: size_of::<Info>() as u32, abi_version: ABI_VERSION, name: text(name), version: text(version) }
    }
}

const fn text(value: &str) -> [u8; 24] {
    let bytes = value.as_bytes();
    assert!(bytes.len() < 24);
    let mut field = [0; 24];
    let mut i = 0;
    while i < bytes.len() {
        field[i] = bytes[i];
        i += 1;
    }
    field
}

/// kernel_init, kernel_info and kernel_cleanup of a kernel that keeps nothing between calls, and its entry points:
/// `export => function`, the function taking a `Call<Params>`. A call before kernel_init ends with INTERNAL_ERROR.
#[macro_export]
macro_rules! stateless {
    ($($export:ident => $function:path),+ $(,)?) => {
        $(
            #[no_mangle]
            pub extern "C" fn $export(descriptor: u32) -> i32 {
                unsafe { $crate::enter::<kernel_params::Params>(descriptor, $function) }
            }
        )+

        #[no_mangle]
        pub extern "C" fn kernel_init(_params: u32, len: u32) -> i32 {
            $crate::initialise(len, kernel_params::PARAM_COUNT)
        }

        #[no_mangle]
        pub extern "C" fn kernel_info() -> &'static $crate::Info {
            static INFO: $crate::Info = $crate::Info::new(kernel_params::NAME, kernel_params::VERSION);
            &INFO
        }

        #[no_mangle]
        pub extern "C" fn kernel_cleanup() {
            $crate::INITIALISED.store(false, core::sync::atomic::Ordering::Relaxed);
        }
    };
}

// Of f32, what WebAssembly has an instruction for and Rust's core has not.

/// The square root, rounded once; NaN below 0.
pub fn sqrt(x: f32) -> f32 {
    // SAFETY: it has no precondition.
    unsafe { core::intrinsics::sqrtf32(x) }
}

pub fn abs(x: f32) -> f32 {
    // SAFETY: it has no precondition.
    unsafe { core::intrinsics::fabsf32(x) }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}
