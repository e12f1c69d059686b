#include "in_place.h"

#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InlineAsm.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/TargetParser/Triple.h>

using namespace llvm;

namespace {

// A constant that LLVM does not see through: it stays in a general register instead of in .rodata.
Value *hidden(IRBuilder<> &builder, const APInt &constant) {
    Type *type = builder.getIntNTy(constant.getBitWidth());
    InlineAsm *same = InlineAsm::get(FunctionType::get(type, type, false), "", "=r,0", false);
    return builder.CreateCall(same, ConstantInt::get(type, constant));
}

// The float of `value` with its sign bit inverted, cleared or taken from another, by integer operations; else null.
Value *sign_operation(Instruction &value, IRBuilder<> &builder) {
    auto *call = dyn_cast<IntrinsicInst>(&value);
    Intrinsic::ID id = call != nullptr ? call->getIntrinsicID() : Intrinsic::not_intrinsic;
    bool negates = value.getOpcode() == Instruction::FNeg;
    bool copies = id == Intrinsic::copysign;
    if ((!negates && !copies && id != Intrinsic::fabs) || value.getType()->isVectorTy()) {
        return nullptr;
    }
    unsigned bits = value.getType()->getPrimitiveSizeInBits();
    Type *word = builder.getIntNTy(bits);
    APInt sign = APInt::getSignMask(bits);
    Value *result = builder.CreateBitCast(value.getOperand(0), word);
    if (negates) {
        result = builder.CreateXor(result, hidden(builder, sign));
    } else {
        result = builder.CreateAnd(result, hidden(builder, ~sign));
    }
    if (copies) {
        Value *other = builder.CreateBitCast(value.getOperand(1), word);
        result = builder.CreateOr(result, builder.CreateAnd(other, hidden(builder, sign)));
    }
    return builder.CreateBitCast(result, value.getType());
}

// A hidden constant for an operand. For a phi it has to be made where the edge comes from; edges from one block have one.
Value *hidden_operand(Use &use) {
    auto *user = cast<Instruction>(use.getUser());
    auto *constant = cast<ConstantFP>(use);
    if (auto *phi = dyn_cast<PHINode>(user)) {
        int first = phi->getBasicBlockIndex(phi->getIncomingBlock(use));
        if (first != (int)use.getOperandNo()) {
            return phi->getIncomingValue(first);
        }
        user = phi->getIncomingBlock(use)->getTerminator();
    }
    IRBuilder<> builder(user);
    Value *bits = hidden(builder, constant->getValueAPF().bitcastToAPInt());
    return builder.CreateBitCast(bits, constant->getType());
}

// x86-64 has masks for signs in .rodata, and float constants but zero; those of the module come from the table of symbols,
// and here are those that WAMR adds.
void hide_floats(Function &function) {
    for (Instruction &value : make_early_inc_range(instructions(function))) {
        IRBuilder<> builder(&value);
        if (Value *result = sign_operation(value, builder)) {
            value.replaceAllUsesWith(result);
            value.eraseFromParent();
            continue;
        }
        for (Use &use : value.operands()) {
            auto *constant = dyn_cast<ConstantFP>(use);
            if (constant != nullptr && !constant->getType()->isVectorTy() && !constant->isExactlyValue(0.0)) {
                use.set(hidden_operand(use));
            }
        }
    }
}

// Xtensa has a function's literals before it, at a multiple of four, and LLVM leaves it to chance where the function
// before that ends. An empty function in between is aligned.
void align_literals(Module &module) {
    SmallVector<Function *, 16> functions;
    for (Function &function : module) {
        if (!function.isDeclaration()) {
            functions.push_back(&function);
        }
    }
    LLVMContext &context = module.getContext();
    for (Function *function : functions) {
        auto *empty = Function::Create(FunctionType::get(Type::getVoidTy(context), false), Function::ExternalLinkage,
                                       function->getName() + ".align");
        module.getFunctionList().insert(function->getIterator(), empty);
        empty->addFnAttr(Attribute::Naked);
        empty->addFnAttr(Attribute::NoUnwind);
        empty->setAlignment(Align(4));
        IRBuilder<>(BasicBlock::Create(context, "", empty)).CreateUnreachable();
    }
}

}  // namespace

void in_place_prepare(Module &module) {
    Triple triple(module.getTargetTriple());
    if (triple.getArch() == Triple::x86_64) {
        for (Function &function : module) {
            hide_floats(function);
        }
    } else if (triple.getArch() == Triple::xtensa) {
        align_literals(module);
    }
}
