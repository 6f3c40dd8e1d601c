// SPDX-License-Identifier: GPL-2.0-only OR MIT
// -fpopcorn-strict: gives a meaning to what C leaves open and processors do in different ways, so that a program that
// relies on it goes on in the same way wherever it is moved to.
//
//   floating point to integer    the nearest value that there is; 0 for NaN
//   integer division             by zero, and of the least number by -1: SIGFPE
//   shifts                       by the count modulo the width
//   NaN                          from arithmetic: positive, quiet, without payload
//   -ffast-math and its parts    off: each processor has instructions of its own for what they allow
//
// All but NaN comes before any optimisation, which takes what is undefined for impossible. NaN comes behind
// most of them: only where its bits can be seen, in memory, calls and returns, is it made the one.

#include "popcorn.h"

#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/Analysis/ValueTracking.h"
#include "llvm/Transforms/Utils/BasicBlockUtils.h"

namespace popcorn {

namespace {

// Of 128 bits both kinds are computed by one library, the same on all ISAs.
bool isNative(Type *T)
{
	T = T->getScalarType();
	return T->isFloatTy() || T->isDoubleTy() || T->isHalfTy() ||
	       (T->isIntegerTy() && T->getIntegerBitWidth() <= 64);
}

void saturate(CastInst &Cast)
{
	Intrinsic::ID To = isa<FPToSIInst>(Cast) ? Intrinsic::fptosi_sat : Intrinsic::fptoui_sat;
	IRBuilder<> B(&Cast);
	Value *V = B.CreateIntrinsic(To, {Cast.getType(), Cast.getSrcTy()}, {Cast.getOperand(0)});

	V->takeName(&Cast);
	Cast.replaceAllUsesWith(V);
	Cast.eraseFromParent();
}

void maskShift(BinaryOperator &Shift)
{
	IRBuilder<> B(&Shift);
	Type *T = Shift.getType();
	unsigned Bits = T->getScalarSizeInBits();

	if (isPowerOf2_32(Bits) && !isa<Constant>(Shift.getOperand(1)))
		Shift.setOperand(1, B.CreateAnd(Shift.getOperand(1), ConstantInt::get(T, Bits - 1)));
}

void checkDivision(BinaryOperator &Div, Runtime &RT)
{
	IRBuilder<> B(&Div);
	Value *By = Div.getOperand(1);
	Type *T = Div.getType();
	bool Signed = Div.getOpcode() == Instruction::SDiv || Div.getOpcode() == Instruction::SRem;

	if (auto *C = dyn_cast<ConstantInt>(By); C && !C->isZero() && !(Signed && C->isMinusOne()))
		return;
	Value *Wrong = B.CreateICmpEQ(By, Constant::getNullValue(T));
	if (Signed) {
		APInt Least = APInt::getSignedMinValue(T->getScalarSizeInBits());
		Value *Overflows = B.CreateAnd(B.CreateICmpEQ(By, Constant::getAllOnesValue(T)),
					       B.CreateICmpEQ(Div.getOperand(0), ConstantInt::get(T, Least)));
		Wrong = B.CreateOr(Wrong, Overflows);
	}
	if (T->isVectorTy())
		Wrong = B.CreateOrReduce(Wrong);
	Instruction *Then = SplitBlockAndInsertIfThen(Wrong, Div.getIterator(), true, RT.unlikely());
	IRBuilder<> C(Then);
	C.SetCurrentDebugLocation(Div.getDebugLoc());
	RT.division(C);
}

void define(Function &F, Runtime &RT)
{
	SmallVector<Instruction *> Work;

	for (const char *Attr : {"unsafe-fp-math", "no-nans-fp-math", "no-infs-fp-math", "no-signed-zeros-fp-math",
				 "approx-func-fp-math"})
		F.removeFnAttr(Attr);
	for (Instruction &I : instructions(F)) {
		if (isa<FPMathOperator>(I))
			I.setFastMathFlags(FastMathFlags());
		Work.push_back(&I);
	}
	for (Instruction *I : Work)
		switch (I->getOpcode()) {
		case Instruction::FPToSI:
		case Instruction::FPToUI:
			if (isNative(I->getType()) && isNative(I->getOperand(0)->getType()))
				saturate(*cast<CastInst>(I));
			break;
		case Instruction::SDiv:
		case Instruction::UDiv:
		case Instruction::SRem:
		case Instruction::URem:
			checkDivision(*cast<BinaryOperator>(I), RT);
			break;
		case Instruction::Shl:
		case Instruction::LShr:
		case Instruction::AShr:
			maskShift(*cast<BinaryOperator>(I));
			break;
		}
}

// Changes or moves bits, NaN or not.
bool isBitwise(Intrinsic::ID ID)
{
	return ID == Intrinsic::fabs || ID == Intrinsic::copysign || ID == Intrinsic::not_intrinsic;
}

// A function of the library that computes. Those that don't may mean the bits that they give.
bool isMath(const Function &F, const TargetLibraryInfo &TLI)
{
	static constexpr StringRef Means[] = {"fabs", "copysign", "nan", "strto", "ato", "wcsto"};
	LibFunc Known;

	return TLI.getLibFunc(F, Known) && none_of(Means, [&](StringRef S) { return F.getName().starts_with(S); });
}

bool isArithmetic(const Instruction &I, const TargetLibraryInfo &TLI)
{
	switch (I.getOpcode()) {
	case Instruction::FAdd:
	case Instruction::FSub:
	case Instruction::FMul:
	case Instruction::FDiv:
	case Instruction::FRem:
	case Instruction::FPTrunc:
	case Instruction::FPExt:
		return true;
	case Instruction::Call:
		if (auto *II = dyn_cast<IntrinsicInst>(&I))
			return !isBitwise(II->getIntrinsicID());
		const Function *F = cast<CallInst>(I).getCalledFunction();
		return F && F->isDeclaration() && isMath(*F, TLI);
	}
	return false;
}

// Whether the bits of its NaN are of no concern to the user of a value.
bool takesAnyNaN(const Instruction &User, const TargetLibraryInfo &TLI)
{
	return isa<FCmpInst>(User) || (isa<FPMathOperator>(User) && !isa<PHINode>(User) && !isa<SelectInst>(User) &&
				       isArithmetic(User, TLI) && isNative(User.getType()));
}

void makeOneNaN(Function &F, const TargetLibraryInfo &TLI)
{
	SmallVector<Instruction *> Results;
	SimplifyQuery Query(F.getDataLayout(), &TLI);

	for (Instruction &I : instructions(F))
		if (I.getType()->isFPOrFPVectorTy() && isNative(I.getType()) && isArithmetic(I, TLI) &&
		    any_of(I.users(), [&](User *U) { return !takesAnyNaN(*cast<Instruction>(U), TLI); }) &&
		    !isKnownNeverNaN(&I, 0, Query))
			Results.push_back(&I);
	for (Instruction *I : Results) {
		IRBuilder<> B(I->getNextNode());
		B.SetCurrentDebugLocation(I->getDebugLoc());
		Value *IsNaN = B.CreateFCmpUNO(I, I);
		Value *One = B.CreateSelect(IsNaN, ConstantFP::getNaN(I->getType()), I);

		I->replaceUsesWithIf(One, [&](Use &U) {
			auto *User = cast<Instruction>(U.getUser());
			return User != IsNaN && User != One && !takesAnyNaN(*User, TLI);
		});
	}
}

} // namespace

PreservedAnalyses StrictPass::run(Module &M, ModuleAnalysisManager &)
{
	Runtime RT(M);
	TargetLibraryInfoImpl Library(Triple(M.getTargetTriple()));

	for (Function &F : M) {
		if (F.isDeclaration())
			continue;
		if (NaN)
			makeOneNaN(F, TargetLibraryInfo(Library, &F));
		else
			define(F, RT);
	}
	return PreservedAnalyses::none();
}

} // namespace popcorn
