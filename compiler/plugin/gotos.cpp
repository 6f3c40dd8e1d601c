// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Computed gotos by number: a label's address is private to an ISA, and programs keep tables of them in data that is
// common to all. Each label whose address is taken gets a number in its function, the goto becomes a switch.

#include "popcorn.h"

#include "llvm/IR/Constants.h"

namespace popcorn {

static bool lowerGotos(Function &F)
{
	SmallVector<IndirectBrInst *> Gotos;
	SmallVector<std::pair<BasicBlock *, ConstantInt *>> Labels;
	IntegerType *I64 = Type::getInt64Ty(F.getContext());

	// Numbers start at 1: no label is a null pointer.
	for (BasicBlock &BB : F) {
		if (auto *BA = BlockAddress::lookup(&BB)) {
			ConstantInt *N = ConstantInt::get(I64, Labels.size() + 1);

			BA->replaceAllUsesWith(ConstantExpr::getIntToPtr(N, BA->getType()));
			BA->destroyConstant();
			Labels.push_back({&BB, N});
		}
		if (auto *I = dyn_cast<IndirectBrInst>(BB.getTerminator()))
			Gotos.push_back(I);
	}
	for (IndirectBrInst *Goto : Gotos) {
		SmallPtrSet<BasicBlock *, 8> Targets(succ_begin(Goto->getParent()), succ_end(Goto->getParent()));
		BasicBlock *From = Goto->getParent();
		BasicBlock *Nowhere = BasicBlock::Create(F.getContext(), "nowhere", &F);
		SmallVector<std::pair<BasicBlock *, unsigned>> Edges;

		new UnreachableInst(F.getContext(), Nowhere);
		IRBuilder<> B(Goto);
		SwitchInst *Switch = B.CreateSwitch(B.CreatePtrToInt(Goto->getAddress(), I64), Nowhere,
						    Labels.size());
		for (auto [BB, N] : Labels)
			if (Targets.contains(BB))
				Switch->addCase(N, BB);
		// From 0 on the number is the place in the jump table; as nobody has 0, it may lead anywhere.
		if (Switch->getNumCases())
			Switch->addCase(ConstantInt::get(I64, 0), Switch->case_begin()->getCaseSuccessor());
		// As many edges from here as a target's PHIs have entries for: one now, however often it was listed.
		for (BasicBlock *T : Targets) {
			unsigned Listed = count(successors(Goto), T);
			unsigned Cases = count(successors(Switch), T);

			for (; Listed > Cases; Listed--)
				T->removePredecessor(From, true);
			for (; Listed < Cases; Listed++)
				for (PHINode &P : T->phis())
					P.addIncoming(P.getIncomingValueForBlock(From), From);
		}
		Goto->eraseFromParent();
	}
	return !Labels.empty() || !Gotos.empty();
}

bool lowerComputedGotos(Module &M)
{
	bool Changed = false;

	for (Function &F : M)
		if (!F.isDeclaration())
			Changed |= lowerGotos(F);
	return Changed;
}

} // namespace popcorn
