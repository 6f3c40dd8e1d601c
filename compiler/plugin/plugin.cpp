// SPDX-License-Identifier: GPL-2.0-only OR MIT
// The plugin's entry: names of the passes, as the driver gives them to opt.

#include "popcorn.h"

#include "llvm/Passes/PassBuilder.h"
#include "llvm/Passes/PassPlugin.h"

using namespace popcorn;

static bool parsePass(StringRef Name, ModulePassManager &MPM, ArrayRef<PassBuilder::PipelineElement>)
{
	unsigned Isa;

	if (Name == "popcorn-varargs")
		MPM.addPass(VarargsPass());
	else if (Name == "popcorn-strict" || Name == "popcorn-strict-nan")
		MPM.addPass(StrictPass(Name == "popcorn-strict-nan"));
	else if (Name == "popcorn-points")
		MPM.addPass(PointsPass());
	else if (Name == "popcorn-capture")
		MPM.addPass(CapturePass());
	else if (Name == "popcorn-extern")
		MPM.addPass(ExternPass());
	else if (Name == "popcorn-report")
		MPM.addPass(ReportPass());
	else if (Name.consume_front("popcorn-retarget-") && RetargetPass::lookup(Name, Isa))
		MPM.addPass(RetargetPass(Isa));
	else
		return false;
	return true;
}

extern "C" LLVM_EXTERNAL_VISIBILITY PassPluginLibraryInfo llvmGetPassPluginInfo()
{
	return {LLVM_PLUGIN_API_VERSION, "popcorn", "1",
		[](PassBuilder &PB) { PB.registerPipelineParsingCallback(parsePass); }};
}
