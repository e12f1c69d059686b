// Kernels run on the kernel stack, everything else on the process's own: leaving a kernel from anywhere means taking back the stack
// pointer that guard_enter kept, and what it saved there.

    .text

// int32_t guard_enter(const struct guard_call *call, void *stack): what the call's function returned. Undefined after guard_leave.
    .globl guard_enter
    .type guard_enter, @function
guard_enter:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, guard_stack(%rip)
    movq %rdi, %rax
    movq %rsi, %rsp
    movq 16(%rax), %rdi
    movq 24(%rax), %rsi
    movq 32(%rax), %rdx
    call *40(%rax)

// void guard_leave(void): from the kernel stack; guard_enter returns. A copy backwards may have been under way.
    .globl guard_leave
    .type guard_leave, @function
guard_leave:
    cld
    movq guard_stack(%rip), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

    .local guard_stack
    .comm guard_stack, 8, 8

    .section .note.GNU-stack, "", @progbits
