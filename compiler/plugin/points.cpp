// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Places migration points: a test of the thread's flag, and behind it, cold, a call of the runtime.
//
// Functions that make no call and have no loop end soon enough by themselves. What never moves gets none.

#include "popcorn.h"

#include "llvm/Analysis/LoopInfo.h"
#include "llvm/IR/Dominators.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Transforms/Utils/BasicBlockUtils.h"

namespace popcorn {

enum PointsKind { Manual, Functions, Loops };

static cl::opt<PointsKind> Kind("popcorn-points", cl::init(Loops),
	cl::desc("Where migration points are placed"),
	cl::values(clEnumValN(Manual, "manual", "only where the program calls for one"),
		   clEnumValN(Functions, "function", "at entries of functions"),
		   clEnumValN(Loops, "loops", "at entries of functions and in loops")));

static void addPoint(Instruction *Before, Runtime &RT)
{
	IRBuilder<> B(Before);
	Value *Asked = B.CreateICmpNE(RT.load(B, Flag, "flag"), B.getInt32(0), "asked");
	Instruction *Then = SplitBlockAndInsertIfThen(Asked, Before->getIterator(), false, RT.unlikely());

	B.SetInsertPoint(Then);
	RT.point(B);
}

static void addPoints(Function &F, const NeverMoves &Never, Runtime &RT)
{
	DominatorTree DT(F);
	LoopInfo LI(DT);
	SmallVector<Instruction *> Places;
	bool Calls = any_of(instructions(F), [&](Instruction &I) {
		auto *CB = dyn_cast<CallBase>(&I);
		return CB && mayReachPoint(*CB, Never);
	});

	if (Calls || !LI.empty())
		Places.push_back(&*F.getEntryBlock().getFirstNonPHIOrDbgOrAlloca());
	if (Kind == Loops)
		for (Loop *L : LI.getLoopsInPreorder())
			if (!L->isInnermost())
				Places.push_back(&*L->getHeader()->getFirstInsertionPt());
	for (Instruction *I : Places)
		addPoint(I, RT);
}

PreservedAnalyses PointsPass::run(Module &M, ModuleAnalysisManager &)
{
	Runtime RT(M);
	NeverMoves Never(M);

	if (Kind == Manual)
		return PreservedAnalyses::all();
	for (Function &F : M)
		if (!F.isDeclarationForLinker() && !Never.contains(F) && !F.hasFnAttribute(Attribute::Naked))
			addPoints(F, Never, RT);
	return PreservedAnalyses::none();
}

} // namespace popcorn
