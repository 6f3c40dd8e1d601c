// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Variadic functions, the same on every ISA: the caller packs the unnamed arguments into memory and passes its
// address as one more argument. Registers and va_list of the native calling conventions differ too much to move.
//
// The layout is the one that the canonical front end reads with va_arg: slots of 8 bytes, what is aligned to 16
// aligned to 16, va_list a pointer to the next slot. It lowers va_arg itself, so only the intrinsics are left here.

#include "popcorn.h"

namespace popcorn {

static constexpr uint64_t SlotBytes = 8;
// At least so many can be read, passed or not: syscall() reads six.
static constexpr uint64_t ReadableSlots = 8;

// An argument's type changes nothing of what is known of a function, so the new one takes over all of the old.
static Function *replaceFunction(Function &F)
{
	SmallVector<Type *> Params(F.getFunctionType()->params());
	LLVMContext &C = F.getContext();

	Params.push_back(PointerType::get(C, 0));
	Function *New = Function::Create(FunctionType::get(F.getReturnType(), Params, false), F.getLinkage(),
					 F.getAddressSpace());
	New->copyAttributesFrom(&F);
	New->setComdat(F.getComdat());
	F.getParent()->getFunctionList().insert(F.getIterator(), New);
	New->takeName(&F);
	New->splice(New->begin(), &F);
	for (auto [Old, Arg] : zip(F.args(), New->args())) {
		Old.replaceAllUsesWith(&Arg);
		Arg.takeName(&Old);
	}
	New->copyMetadata(&F, 0);
	F.replaceAllUsesWith(New);
	F.eraseFromParent();
	return New;
}

static void lowerStart(Function &F)
{
	for (Instruction &I : make_early_inc_range(instructions(F))) {
		auto *II = dyn_cast<IntrinsicInst>(&I);
		if (!II || II->getIntrinsicID() != Intrinsic::vastart)
			continue;
		IRBuilder<>(II).CreateStore(F.getArg(F.arg_size() - 1), II->getArgOperand(0));
		II->eraseFromParent();
	}
}

static void lowerCopyAndEnd(Function &F)
{
	for (Instruction &I : make_early_inc_range(instructions(F))) {
		auto *II = dyn_cast<IntrinsicInst>(&I);
		if (!II)
			continue;
		IRBuilder<> B(II);
		if (II->getIntrinsicID() == Intrinsic::vacopy)
			B.CreateStore(B.CreateLoad(B.getPtrTy(), II->getArgOperand(1)), II->getArgOperand(0));
		else if (II->getIntrinsicID() != Intrinsic::vaend)
			continue;
		II->eraseFromParent();
	}
}

// Where the unnamed arguments of one call go; returns the bytes taken.
static uint64_t packArguments(CallBase &CB, AllocaInst &Buffer, IRBuilderBase &B)
{
	const DataLayout &DL = CB.getDataLayout();
	uint64_t Offset = 0;

	for (unsigned I = CB.getFunctionType()->getNumParams(); I < CB.arg_size(); I++) {
		Value *V = CB.getArgOperand(I);
		Type *T = V->getType();

		// The whole slot is written: sources that pass an int and read a long see what they see natively.
		if (T->isIntegerTy() && T->getIntegerBitWidth() < 64)
			V = CB.paramHasAttr(I, Attribute::ZExt) ? B.CreateZExt(V, B.getInt64Ty())
							       : B.CreateSExt(V, B.getInt64Ty());
		Align A = std::min(std::max(Align(SlotBytes), DL.getABITypeAlign(T)), Align(16));
		Offset = alignTo(Offset, A);
		B.CreateAlignedStore(V, B.CreateConstInBoundsGEP1_64(B.getInt8Ty(), &Buffer, Offset), A);
		Offset += alignTo(DL.getTypeStoreSize(V->getType()), SlotBytes);
	}
	return Offset;
}

// What a call without unnamed arguments passes: readable, since fcntl() and its like take an argument that isn't there.
static GlobalVariable *noArguments(Module &M)
{
	if (GlobalVariable *G = M.getNamedGlobal("__popcorn_no_arguments"))
		return G;
	Type *T = ArrayType::get(Type::getInt64Ty(M.getContext()), ReadableSlots);
	auto *G = new GlobalVariable(M, T, true, GlobalValue::InternalLinkage, Constant::getNullValue(T),
				     "__popcorn_no_arguments");

	G->setAlignment(Align(16));
	return G;
}

// One buffer serves all calls of a function: its contents are dead once the callee has returned.
static void lowerCalls(Function &F)
{
	SmallVector<CallBase *> Calls;
	LLVMContext &C = F.getContext();
	Type *I8 = Type::getInt8Ty(C);
	uint64_t Max = 0;

	for (Instruction &I : instructions(F))
		if (auto *CB = dyn_cast<CallBase>(&I))
			if (CB->getFunctionType()->isVarArg() && !CB->isInlineAsm() && !isa<IntrinsicInst>(CB))
				Calls.push_back(CB);
	if (Calls.empty())
		return;

	auto *Buffer = new AllocaInst(ArrayType::get(I8, SlotBytes), 0, nullptr, Align(16), "varargs",
				      F.getEntryBlock().begin());
	for (CallBase *CB : Calls) {
		unsigned Named = CB->getFunctionType()->getNumParams();
		SmallVector<Value *> Args(CB->arg_begin(), CB->arg_begin() + Named);
		SmallVector<Type *> Types(CB->getFunctionType()->params());
		AttributeList AL = CB->getAttributes();
		SmallVector<AttributeSet> ArgAttrs;
		SmallVector<OperandBundleDef> Bundles;
		CallBase *New;

		if (!isa<CallInst>(CB)) {
			diagnose(*CB, "variadic call that isn't a plain call", DS_Error);
			continue;
		}
		IRBuilder<> B(CB);
		B.CreateLifetimeStart(Buffer);
		uint64_t Bytes = packArguments(*CB, *Buffer, B);
		Max = std::max(Max, Bytes);
		Args.push_back(Bytes ? (Value *)Buffer : noArguments(*F.getParent()));
		Types.push_back(B.getPtrTy());
		for (unsigned I = 0; I < Named; I++)
			ArgAttrs.push_back(AL.getParamAttrs(I));
		ArgAttrs.push_back(AttributeSet());
		CB->getOperandBundlesAsDefs(Bundles);
		New = B.CreateCall(FunctionType::get(CB->getType(), Types, false), CB->getCalledOperand(), Args,
				   Bundles);
		New->setAttributes(AttributeList::get(C, AL.getFnAttrs(), AL.getRetAttrs(), ArgAttrs));
		New->setCallingConv(CB->getCallingConv());
		New->copyMetadata(*CB);
		New->takeName(CB);
		B.CreateLifetimeEnd(Buffer);
		CB->replaceAllUsesWith(New);
		CB->eraseFromParent();
	}
	Buffer->setAllocatedType(ArrayType::get(I8, std::max(Max, ReadableSlots * SlotBytes)));
}

PreservedAnalyses VarargsPass::run(Module &M, ModuleAnalysisManager &)
{
	refuseUnportable(M);
	// Calls first: while the callees still are what the calls say.
	for (Function &F : M)
		if (!F.isDeclaration()) {
			lowerCalls(F);
			lowerCopyAndEnd(F);
		}
	for (Function &F : make_early_inc_range(M))
		if (F.isVarArg() && !F.isIntrinsic())
			lowerStart(*replaceFunction(F));
	return PreservedAnalyses::none();
}

} // namespace popcorn
