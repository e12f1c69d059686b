#include "llvm_checks.h"

#include <memory>
#include <string>

#include <llvm/ADT/StringRef.h>
#include <llvm/MC/MCSubtargetInfo.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Support/CommandLine.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/TargetParser/Triple.h>

#include "console.h"

bool llvm_parse_options(int count, const char *const *options) {
    std::string message;
    llvm::raw_string_ostream stream(message);
    if (llvm::cl::ParseCommandLineOptions(count, options, "", &stream)) {
        return true;
    }
    console_error("--mllvm: %s", llvm::StringRef(stream.str()).trim().str().c_str());
    return false;
}

static bool check_feature(const llvm::MCSubtargetInfo &info, llvm::StringRef feature) {
    llvm::StringRef name = feature.drop_front();
    for (const auto &known : info.getAllProcessorFeatures()) {
        if (name == known.Key) {
            return true;
        }
    }
    console_error("LLVM knows no feature '%s' of %s", feature.str().c_str(),
                  info.getTargetTriple().getArchName().str().c_str());
    return false;
}

bool llvm_check_cpu(const char *target, const char *cpu, const char *features) {
    llvm::InitializeAllTargetInfos();
    llvm::InitializeAllTargetMCs();
    llvm::Triple triple(target ? llvm::Triple::normalize(target) : llvm::sys::getDefaultTargetTriple());
    std::string error;
    const llvm::Target *known = llvm::TargetRegistry::lookupTarget(triple, error);
    if (known == nullptr) {
        return true;
    }
    std::unique_ptr<llvm::MCSubtargetInfo> info(known->createMCSubtargetInfo(triple, "", ""));
    if (!info) {
        return true;
    }
    if (cpu != nullptr && !info->isCPUStringValid(cpu)) {
        console_error("LLVM knows no CPU '%s' of %s; see --target=... --cpu=help", cpu,
                      triple.getArchName().str().c_str());
        return false;
    }
    llvm::SmallVector<llvm::StringRef, 8> list;
    llvm::StringRef(features ? features : "").split(list, ',', -1, false);
    for (llvm::StringRef feature : list) {
        if (!feature.starts_with("+") && !feature.starts_with("-")) {
            console_error("--cpu-features: '%s' must begin with + or -", feature.str().c_str());
            return false;
        }
        if (!check_feature(*info, feature)) {
            return false;
        }
    }
    return true;
}
