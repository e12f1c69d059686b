//! swiglu_f32.c in Rust, bit for bit the same. The pack has the C one; to have this one instead, its entry in pack.toml
//! gets `source = "swiglu/swiglu_f32.rs"`.

#![no_std]

use kernel_abi::{abs, Call, Code};
use kernel_params::Params;

kernel_abi::stateless! { swiglu_forward => forward, kernel_backward => backward }

/// y = silu(gate) * up, silu being rounded to f32 before the product. y may be gate itself.
fn forward(call: Call<Params>) -> Result<(), Code> {
    let n = call.params.n;
    let up = call.input_b.slice::<f32>(n)?;
    let [gate, y] = call.output.in_place::<f32>(call.input_a, n)?;
    for ((y, gate), up) in y.iter().zip(gate).zip(up) {
        y.set(silu(gate.get()) * up);
    }
    Ok(())
}

/// Input A is gate, dy; input B is up; the output is dgate, dup.
fn backward(call: Call<Params>) -> Result<(), Code> {
    let n = call.params.n;
    let [gate, dy] = call.input_a.two::<f32>([n, n])?;
    let up = call.input_b.slice::<f32>(n)?;
    let [dgate, dup] = call.output.two::<f32>([n, n])?;
    for i in 0..n as usize {
        dgate[i] = dy[i] * up[i] * silu_slope(gate[i]);
        dup[i] = dy[i] * silu(gate[i]);
    }
    Ok(())
}

/// g / (1 + exp(-g)), rounded to f32: swiglu/silu.h.
fn silu(g: f32) -> f32 {
    if g.to_bits() > 0xc2000000 {
        // Below -32 (and NaN) 1 + exp(-g) is exp(-g). Times 2^64, so that no step before the last is a denormal.
        const SCALE: f32 = 1.0 / (1u128 << 64) as f32;
        return g * exp_minus(abs(g), 64) * SCALE;
    }
    // exp(-g) itself could overflow; exp(-|g|) cannot.
    let e = exp_minus(abs(g), 0);
    (if g.is_sign_negative() { g * e } else { g }) / (1.0 + e)
}

/// silu'(g) = s + g s (1 - s), s = 1 / (1 + exp(-g)).
fn silu_slope(g: f32) -> f32 {
    let e = exp_minus(abs(g), 0);
    let larger = 1.0 / (1.0 + e);
    let smaller = e * larger;
    let s = if g.is_sign_negative() { smaller } else { larger };
    s + g * (larger * smaller)
}

// ---- of kernel_math.h ----

/// The high word of a * b, or up to 2 less: without the product of the low halves.
fn mul_high(a: u32, b: u32) -> u32 {
    let (a_high, b_high) = (a >> 16, b >> 16);
    a_high * b_high + (a_high * (b & 0xffff) >> 16) + ((a & 0xffff) * b_high >> 16)
}

/// The float nearest to value * 2^exponent (halves upwards); 0 below 2^-126. value is not 0.
fn float_from_parts(value: u32, exponent: i32) -> f32 {
    let zeros = value.leading_zeros();
    let biased = 127 + 31 - zeros as i32 + exponent;
    if biased <= 0 {
        return 0.0;
    }
    let value = value << zeros;
    // Adding lets a carry out of the fraction, whose top bit is set, reach the exponent.
    f32::from_bits((((biased - 1) as u32) << 23) + (value >> 8) + (value >> 7 & 1))
}

/// e^-z in units of 2^-31, for z from 0 to ln 2 in units of 2^-32.
fn exp_minus_fixed(z: u32) -> u32 {
    const COEFFICIENTS: [u32; 7] = [0x7FFFFFFC, 0x7FFFFDF8, 0x3FFFD3A8, 0x1553E366, 0x054F7F1B, 0x0104B775, 0x00200F84];
    COEFFICIENTS.iter().rev().fold(0, |value, &coefficient| coefficient - mul_high(z, value))
}

/// e^-a * 2^shift for a >= 0; 0 when that is below 2^-126, when a is at least 256, and for NaN.
fn exp_minus(a: f32, shift: i32) -> f32 {
    let bits = a.to_bits();
    let exponent = (bits >> 23) as i32;
    if exponent >= 127 + 8 {
        return 0.0;
    }
    let mantissa = (bits & 0x7fffff) | 0x800000;
    // a mod 1 in units of 2^-32, and all of a in units of 2^-24.
    let fraction = shifted(mantissa, exponent - 118);
    let whole = shifted(mantissa, exponent - 126);
    // a = n * ln 2 + rest. n is rounded down, so rest is not negative; being below 1, it comes right mod 1.
    let n = mul_high(whole, 0xB8AA3B29) >> 23;
    let rest = fraction.wrapping_sub(n.wrapping_mul(0xB17217F7)).wrapping_sub(n * 0xD1CF >> 16);
    float_from_parts(exp_minus_fixed(rest), shift - 31 - n as i32)
}

/// value * 2^left for a value of 24 bits, rounded down, mod 2^32.
fn shifted(value: u32, left: i32) -> u32 {
    match left {
        0.. => value << left,
        -23..=-1 => value >> -left,
        _ => 0,
    }
}
