// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Makes every symbol external and hidden, with a name and an alignment of its own. What is local could be changed
// by each ISA's code generation in its own way: dropped, merged, split, laid out anew, called by another convention.
// The layout of the program must be the same on all of them.

#include "popcorn.h"

#include "llvm/Support/CommandLine.h"

namespace popcorn {

static cl::opt<std::string> Unit("popcorn-unit", cl::value_desc("name"),
	cl::desc("Suffix for what was local to the module, so that modules can be linked with each other"));

static void publish(GlobalValue &G, unsigned &Unnamed)
{
	if (G.hasLocalLinkage()) {
		if (!G.hasName())
			G.setName("popcorn.k" + Twine(Unnamed++));
		// A string of a private name would not be a symbol: ".str" would be renamed by each module anew.
		if (!Unit.empty())
			G.setName(G.getName() + "." + Unit);
		G.setLinkage(GlobalValue::ExternalLinkage);
		G.setVisibility(GlobalValue::HiddenVisibility);
	} else if (G.hasCommonLinkage() || G.hasLinkOnceLinkage()) {
		G.setLinkage(G.hasCommonLinkage() ? GlobalValue::WeakAnyLinkage : GlobalValue::WeakODRLinkage);
	}
	G.setUnnamedAddr(GlobalValue::UnnamedAddr::None);
	G.setDSOLocal(true);
	if (G.isThreadLocal())
		G.setThreadLocalMode(GlobalValue::LocalExecTLSModel);
}

PreservedAnalyses ExternPass::run(Module &M, ModuleAnalysisManager &)
{
	unsigned Unnamed = 0;

	for (GlobalVariable &G : M.globals()) {
		if (G.getName().starts_with("llvm."))
			continue;
		if (G.isDeclarationForLinker()) {
			if (G.isThreadLocal()) {
				G.setThreadLocalMode(GlobalValue::LocalExecTLSModel);
				G.setDSOLocal(true);
			}
			continue;
		}
		publish(G, Unnamed);
		if (!G.getAlign())
			G.setAlignment(M.getDataLayout().getPreferredAlign(&G));
	}
	for (Function &F : M)
		if (!F.isDeclarationForLinker()) {
			publish(F, Unnamed);
			// Functions that share a section begin where those before them end, on each ISA elsewhere.
			F.setSection("");
		}
	for (GlobalAlias &A : M.aliases())
		publish(A, Unnamed);
	return PreservedAnalyses::none();
}

} // namespace popcorn
