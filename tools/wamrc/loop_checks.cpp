// WAMR checks each access of linear memory where it happens: offset > bound, and whether address + offset overflowed.
// An innermost loop is copied here. The copy keeps its checks; of the original, those go whose offsets are
// start + i * step, and before both, what these offsets will be at their lowest and highest is compared once: where all
// are within bounds the original runs, else the copy. So a loop that leaves memory still does so at the same access,
// after the same stores.

#include "loop_checks.h"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <llvm/ADT/SmallPtrSet.h>
#include <llvm/Analysis/LoopInfo.h>
#include <llvm/Analysis/ScalarEvolution.h>
#include <llvm/Analysis/ScalarEvolutionExpressions.h>
#include <llvm/IR/Dominators.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Module.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Transforms/Scalar/InstSimplifyPass.h>
#include <llvm/Transforms/Utils/BasicBlockUtils.h>
#include <llvm/Transforms/Utils/Cloning.h>
#include <llvm/Transforms/Utils/LCSSA.h>
#include <llvm/Transforms/Utils/LoopSimplify.h>
#include <llvm/Transforms/Utils/LoopUtils.h>
#include <llvm/Transforms/Utils/Mem2Reg.h>
#include <llvm/Transforms/Utils/ScalarEvolutionExpander.h>

#include "aot_llvm.h"
#include "console.h"
#include "in_place.h"

using namespace llvm;

namespace {

constexpr int64_t FARTHEST = 1 << 20;  // between offsets that are checked together
constexpr uint64_t LARGEST_STEP = 0xffff;  // of one that is known only when the loop runs

// Offsets start + i * step, and others a constant away from them, from `lowest` to `highest`.
struct Range {
    struct Bound {
        const SCEV *bound;
        int64_t highest;  // of the offsets that it holds for
    };
    const SCEV *start;
    const SCEV *step;
    int64_t lowest = 0;
    int64_t highest = 0;
    std::vector<Bound> bounds;

    void cover(int64_t away) {
        lowest = std::min(lowest, away);
        highest = std::max(highest, away);
    }
};

// Where an offset is: in `range`, from `low` to `high` away from its start.
struct Place {
    Range *range;
    int64_t low;
    int64_t high;
};

class LoopChecks {
public:
    LoopChecks(Loop &loop, ScalarEvolution &evolution, const BasicBlock *trap)
        : loop_(loop), evolution_(evolution), trap_(trap) {}

    // Whether there are checks that can be made before the loop.
    bool find();

    // Makes them there; the header of the copy, which keeps its checks.
    const BasicBlock *hoist(DominatorTree &dominators, LoopInfo &loops);

private:
    bool add(BranchInst *branch);
    bool split(const SCEV *offset, const SCEV **start, const SCEV **step, int64_t *varies);
    bool place(const SCEV *offset, Place *place);
    bool is_known_before(const SCEV *value);
    Value *condition(Instruction *before);

    Loop &loop_;
    ScalarEvolution &evolution_;
    const BasicBlock *trap_;
    const SCEV *iterations_ = nullptr;  // but one
    std::vector<Range> ranges_;
    std::vector<BranchInst *> branches_;
};

SCEVExpander expander_of(ScalarEvolution &evolution) {
#if LLVM_VERSION_MAJOR >= 22
    return SCEVExpander(evolution, "in_bounds");
#else
    return SCEVExpander(evolution, evolution.getDataLayout(), "in_bounds");
#endif
}

bool leads_to(const BasicBlock *block, const BasicBlock *target) {
    SmallPtrSet<const BasicBlock *, 4> passed;  // a loop without end leads nowhere
    while (block != target) {
        const BasicBlock *next = block->getSingleSuccessor();
        if (next == nullptr || !passed.insert(block).second || &*block->getFirstNonPHIIt() != block->getTerminator()) {
            return false;
        }
        block = next;
    }
    return true;
}

// Whether a value can be computed before the loop.
bool LoopChecks::is_known_before(const SCEV *value) {
    return evolution_.isLoopInvariant(value, &loop_)
           && expander_of(evolution_).isSafeToExpandAt(value, loop_.getLoopPreheader()->getTerminator());
}

// offset = start + i * step + something from 0 to `varies`, a masked index of a table for example.
bool LoopChecks::split(const SCEV *offset, const SCEV **start, const SCEV **step, int64_t *varies) {
    *start = offset;
    *step = evolution_.getZero(offset->getType());
    *varies = 0;
    if (const auto *progression = dyn_cast<SCEVAddRecExpr>(offset)) {
        if (progression->getLoop() == &loop_ && progression->isAffine()) {
            *start = progression->getStart();
            *step = progression->getStepRecurrence(evolution_);
        }
    } else if (const auto *sum = dyn_cast<SCEVAddExpr>(offset)) {
        const SCEV *fixed = evolution_.getZero(offset->getType());
        const SCEV *varying = fixed;
        for (const SCEV *term : sum->operands()) {
            const SCEV **part = evolution_.isLoopInvariant(term, &loop_) ? &fixed : &varying;
            *part = evolution_.getAddExpr(*part, term);
        }
        APInt most = evolution_.getUnsignedRangeMax(varying);
        if (most.ugt(FARTHEST)) {
            return false;
        }
        *start = fixed;
        *varies = most.getSExtValue();
    }
    const auto *constant = dyn_cast<SCEVConstant>(*step);
    bool forwards = constant == nullptr || (constant->getAPInt().sge(0) && constant->getAPInt().sle(FARTHEST));
    return forwards && is_known_before(*start) && is_known_before(*step);
}

bool LoopChecks::place(const SCEV *offset, Place *place) {
    const SCEV *start, *step;
    int64_t varies;
    if (!split(offset, &start, &step, &varies)) {
        return false;
    }
    for (Range &range : ranges_) {
        const auto *away = dyn_cast<SCEVConstant>(evolution_.getMinusSCEV(start, range.start));
        if (range.step == step && away != nullptr && away->getAPInt().abs().ule(FARTHEST)) {
            int64_t low = away->getAPInt().getSExtValue();
            *place = {&range, low, low + varies};
            return true;
        }
    }
    ranges_.push_back({start, step, 0, 0, {}});
    *place = {&ranges_.back(), 0, varies};
    return true;
}

// Whether `branch` is a check that can go: to the trap when offset > bound, or offset < constant, which is how WAMR sees
// that address + constant overflowed.
bool LoopChecks::add(BranchInst *branch) {
    auto *compare = dyn_cast<ICmpInst>(branch->getCondition());
    if (compare == nullptr || !leads_to(branch->getSuccessor(0), trap_)) {
        return false;
    }
    const SCEV *offset = evolution_.getSCEV(compare->getOperand(0));
    const SCEV *limit = evolution_.getSCEV(compare->getOperand(1));
    if (!offset->getType()->isIntegerTy(32) || !is_known_before(limit)) {
        return false;
    }
    int64_t constant = 0;
    if (compare->getPredicate() == ICmpInst::ICMP_ULT) {
        const auto *added = dyn_cast<SCEVConstant>(limit);
        if (added == nullptr || added->getAPInt().ugt(FARTHEST)) {
            return false;
        }
        constant = added->getAPInt().getSExtValue();
    } else if (compare->getPredicate() != ICmpInst::ICMP_UGT) {
        return false;
    }
    Place at;
    if (!place(offset, &at)) {
        return false;
    }
    at.range->cover(at.low - constant);
    at.range->cover(at.high);
    if (compare->getPredicate() == ICmpInst::ICMP_UGT) {
        for (Range::Bound &bound : at.range->bounds) {
            if (bound.bound == limit) {
                bound.highest = std::max(bound.highest, at.high);
                return true;
            }
        }
        at.range->bounds.push_back({limit, at.high});
    }
    return true;
}

bool LoopChecks::find() {
    BasicBlock *latch = loop_.getLoopLatch();
    if (latch == nullptr || loop_.getLoopPreheader() == nullptr || !loop_.hasDedicatedExits()) {
        return false;
    }
    iterations_ = evolution_.getExitCount(&loop_, latch);
    if (isa<SCEVCouldNotCompute>(iterations_) || !is_known_before(iterations_)
        || evolution_.getTypeSizeInBits(iterations_->getType()) > 32) {
        return false;
    }
    iterations_ = evolution_.getNoopOrZeroExtend(iterations_, Type::getInt32Ty(latch->getContext()));
    for (BasicBlock *block : loop_.blocks()) {
        auto *branch = dyn_cast<BranchInst>(block->getTerminator());
        if (branch != nullptr && branch->isConditional() && add(branch)) {
            branches_.push_back(branch);
        }
    }
    return !branches_.empty();
}

// Whether no offset of the loop is out of bounds. An offset that wraps around is found by being below the lowest; it
// cannot do so twice because iterations * step is less than 2^32.
Value *LoopChecks::condition(Instruction *before) {
    SCEVExpander expander = expander_of(evolution_);
    IRBuilder<> builder(before);
    Type *word = builder.getInt32Ty();
    Value *all = builder.getTrue();
    auto require = [&](CmpInst::Predicate predicate, Value *left, Value *right) {
        all = builder.CreateAnd(all, builder.CreateICmp(predicate, left, right));
    };
    auto value = [&](const SCEV *what) { return expander.expandCodeFor(what, word, before); };
    uint64_t most = UINT32_MAX;  // iterations
    for (const Range &range : ranges_) {
        auto offset = [&](int64_t away, const SCEV *iteration) {
            const SCEV *distance = evolution_.getConstant(word, (uint64_t)away, true);
            const SCEV *advance = evolution_.getMulExpr(iteration, range.step);
            return value(evolution_.getAddExpr(range.start, evolution_.getAddExpr(distance, advance)));
        };
        uint64_t room = UINT32_MAX - (uint64_t)(range.highest - range.lowest);
        if (const auto *step = dyn_cast<SCEVConstant>(range.step)) {
            most = step->isZero() ? most : std::min(most, room / step->getAPInt().getZExtValue());
        } else {
            most = std::min(most, room / LARGEST_STEP);
            require(CmpInst::ICMP_ULE, value(range.step), builder.getInt32(LARGEST_STEP));
        }
        const SCEV *none = evolution_.getZero(word);
        require(CmpInst::ICMP_ULE, offset(range.lowest, none), offset(range.highest, iterations_));
        for (const Range::Bound &bound : range.bounds) {
            require(CmpInst::ICMP_ULE, offset(bound.highest, iterations_), value(bound.bound));
        }
    }
    if (evolution_.getUnsignedRangeMax(iterations_).ugt(most)) {
        require(CmpInst::ICMP_ULE, value(iterations_), builder.getInt32((uint32_t)most));
    }
    return all;
}

const BasicBlock *LoopChecks::hoist(DominatorTree &dominators, LoopInfo &loops) {
    BasicBlock *chooser = loop_.getLoopPreheader();
    Value *safe = condition(chooser->getTerminator());
    BasicBlock *preheader = SplitBlock(chooser, chooser->getTerminator(), &dominators, &loops);
    SmallVector<BasicBlock *, 8> exits;
    loop_.getUniqueExitBlocks(exits);
    ValueToValueMapTy copies;
    SmallVector<BasicBlock *, 16> blocks;
    Loop *copy = cloneLoopWithPreheader(preheader, chooser, &loop_, copies, ".checked", &loops, &dominators, blocks);
    remapInstructionsInBlocks(blocks, copies);
    for (BasicBlock *exit : exits) {
        for (PHINode &phi : exit->phis()) {
            for (unsigned i = 0, count = phi.getNumIncomingValues(); i < count; i++) {
                Value *value = phi.getIncomingValue(i);
                auto found = copies.find(value);
                phi.addIncoming(found == copies.end() ? value : (Value *)found->second,
                                cast<BasicBlock>(copies[phi.getIncomingBlock(i)]));
            }
        }
    }
    Instruction *last = chooser->getTerminator();
    MDNode *likely = MDBuilder(chooser->getContext()).createLikelyBranchWeights();
    IRBuilder<>(last).CreateCondBr(safe, preheader, copy->getLoopPreheader(), likely);
    last->eraseFromParent();
    for (BranchInst *branch : branches_) {
        branch->setCondition(ConstantInt::getFalse(branch->getContext()));
    }
    addStringMetadataToLoop(copy, "llvm.loop.unroll.disable", 1);
    return copy->getHeader();
}

void hoist_function(Function &function, FunctionAnalysisManager &analyses) {
    const BasicBlock *trap = nullptr;
    for (const BasicBlock &block : function) {
        if (block.getName() == "got_exception") {
            trap = &block;
        }
    }
    if (trap == nullptr) {
        return;
    }
    FunctionPassManager prepare;
    prepare.addPass(PromotePass());
    prepare.addPass(InstSimplifyPass());
    prepare.addPass(LoopSimplifyPass());
    prepare.addPass(LCSSAPass());
    SmallPtrSet<const BasicBlock *, 16> seen;  // headers
    for (bool more = true; more;) {
        analyses.invalidate(function, PreservedAnalyses::none());
        prepare.run(function, analyses);
        LoopInfo &loops = analyses.getResult<LoopAnalysis>(function);
        more = false;
        for (Loop *loop : loops.getLoopsInPreorder()) {
            if (!loop->isInnermost() || !seen.insert(loop->getHeader()).second) {
                continue;
            }
            LoopChecks checks(*loop, analyses.getResult<ScalarEvolutionAnalysis>(function), trap);
            if (checks.find()) {
                seen.insert(checks.hoist(analyses.getResult<DominatorTreeAnalysis>(function), loops));
                more = true;
                break;
            }
        }
    }
    analyses.invalidate(function, PreservedAnalyses::none());
}

bool hoist;

}  // namespace

void loop_checks_hoist(void) {
    hoist = true;
}

// Ends the program if LLVM finds that what was made of the module means nothing: no file is better than one that says
// anything.
static void verify(const Module &module, const char *after) {
    std::string message;
    raw_string_ostream stream(message);
    if (verifyModule(module, &stream)) {
        console_error("LLVM finds the module broken after %s: %s", after, StringRef(message).trim().str().c_str());
        exit(EXIT_FAILURE);
    }
}

// The linker leads the library's call of its optimiser here (--wrap).
extern "C" void __real_aot_apply_llvm_new_pass_manager(AOTCompContext *context, LLVMModuleRef module);

extern "C" void __wrap_aot_apply_llvm_new_pass_manager(AOTCompContext *context, LLVMModuleRef module) {
    if (hoist && context->pointer_size == sizeof(uint32_t)) {
        PassBuilder builder;
        LoopAnalysisManager loops;
        FunctionAnalysisManager functions;
        CGSCCAnalysisManager components;
        ModuleAnalysisManager modules;
        builder.registerModuleAnalyses(modules);
        builder.registerCGSCCAnalyses(components);
        builder.registerFunctionAnalyses(functions);
        builder.registerLoopAnalyses(loops);
        builder.crossRegisterProxies(loops, functions, components, modules);
        for (Function &function : *unwrap(module)) {
            if (!function.isDeclaration()) {
                hoist_function(function, functions);
            }
        }
        verify(*unwrap(module), "moving checks out of loops");
    }
    __real_aot_apply_llvm_new_pass_manager(context, module);
    if (context->is_indirect_mode) {
        in_place_prepare(*unwrap(module));
        verify(*unwrap(module), "preparing it to run in place");
    }
}
