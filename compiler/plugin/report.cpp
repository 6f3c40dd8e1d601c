// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Writes down, for popcorn-check, where threads can move: a section of the object that isn't loaded, with a
// line for each function: name, migration points, calls, calls that may come to a point, and why the frame is pinned,
// if it is.

#include "popcorn.h"

#include "llvm/Support/raw_ostream.h"

namespace popcorn {

static bool isOurs(const CallBase &CB)
{
	const Function *F = CB.getCalledFunction();
	return F && F->getName().starts_with("__popcorn_");
}

PreservedAnalyses ReportPass::run(Module &M, ModuleAnalysisManager &)
{
	NeverMoves Never(M);
	MayMove May(M, Never);
	std::string Text;
	raw_string_ostream OS(Text);

	OS << ".pushsection .popcorn.points,\"\",@progbits\n";
	for (const Function &F : M) {
		unsigned Points = 0, Calls = 0, Sites = 0;

		// A resume function is its function over again.
		if (F.isDeclarationForLinker() || F.getName().ends_with(".resume"))
			continue;
		for (const Instruction &I : instructions(F)) {
			auto *CB = dyn_cast<CallBase>(&I);
			if (!CB || isa<IntrinsicInst>(CB) || CB->isInlineAsm() ||
			    CB->hasFnAttr(ResumesAttr))
				continue;
			if (isOurs(*CB)) {
				Points += CB->getCalledFunction()->getName() == "__popcorn_point";
				continue;
			}
			Calls++;
			Sites += May.isSite(*CB);
		}
		OS << ".ascii \"";
		OS.write_escaped(F.getName());
		OS << "\\t" << Points << "\\t" << Calls << "\\t" << Sites << "\\t"
		   << F.getFnAttribute("popcorn-pinned").getValueAsString() << "\\n\"\n";
	}
	OS << ".popsection\n";
	M.appendModuleInlineAsm(Text);
	return PreservedAnalyses::none();
}

} // namespace popcorn
